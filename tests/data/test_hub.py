"""The hub without the hub: its functions answer from local files or fail as they really do, and the errors are told."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import pytest
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from huggingface_hub import errors

from prune.config.content import one_look
from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig
from prune.config.own import OwnSetConfig
from prune.data.dataset import Hub, QuestionSet, TextSet
from prune.data.identity import data_identity, own_identity, repositories
from prune.data.own.definition import define
from prune.data.registry import DATASETS
from prune.data.sources import hub
from prune.data.sources.commits import not_fetched
from prune.data.sources.source import Source, examples, open_source, texts
from prune.errors import UserError
from prune.eval.plan import plan_metrics

Loader = Callable[..., Any]
BRANCHES = {
    "oscar": ("oscar-corpus/community-oscar", "main"),
    "esnli": ("esnli/esnli", "refs/convert/parquet"),
    "commonsense_qa": ("Salesforce/cos_e", "main"),
    "lambada": ("cimec/lambada", "main"),
}
"""Set -> the repository of its rows, or of its rationales, that is read at a branch."""


@pytest.fixture
def source() -> Source:
    return open_source(DataConfig(name=DataSource.hub))


FETCHED = "fade" * 10
"""The commit that the local cache has of repositories that are read at a branch."""


def _no_network(_: str) -> Any:
    raise ConnectionError("no network")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", _no_network)
    for repository, revision in BRANCHES.values():
        ref = tmp_path / "hub" / f"datasets--{repository.replace('/', '--')}" / "refs" / revision
        ref.parent.mkdir(parents=True)
        ref.write_text(FETCHED)
    datasets.disable_progress_bars()


def _text_set(name: str) -> TextSet:
    dataset = DATASETS[name]
    assert isinstance(dataset, TextSet)
    return dataset


def _question_set(name: str) -> QuestionSet:
    dataset = DATASETS[name]
    assert isinstance(dataset, QuestionSet)
    return dataset


def _answer_with(monkeypatch: pytest.MonkeyPatch, rows: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Let `load_dataset` answer by repository; what it was called with is recorded."""
    calls: list[dict[str, Any]] = []

    def load_dataset(path: str, name: str | None = None, **options: Any) -> Any:
        calls.append({"path": path, "name": name, **options})
        data = datasets.Dataset.from_list(rows[path])
        return data.to_iterable_dataset() if options.get("streaming") else data

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def _fail_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)


GSM8K_ROW = {"question": "What is 2+3?", "answer": "It is 5.\n#### 5"}


def test_whole_split_at_its_revision(monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    calls = _answer_with(monkeypatch, {"openai/gsm8k": [GSM8K_ROW] * 3})
    loaded = examples(source, _question_set("gsm8k"), "train")
    assert len(loaded) == 3
    assert loaded[2].target == "5"
    assert calls == [
        {"path": "openai/gsm8k", "name": "main", "split": "train", "revision": "740312add88f781978c0658806c59bc2815b9866"}
    ]


def test_split_names_of_anli(monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    row = {"premise": "P", "hypothesis": "H", "label": 2, "reason": "R"}
    calls = _answer_with(monkeypatch, {"facebook/anli": [row]})
    for split, theirs in (("train", "train_r2"), ("validation", "dev_r2"), ("test", "test_r2")):
        assert examples(source, _question_set("anli_r2"), split)[0].target == "contradiction"
        assert calls[-1]["split"] == theirs


def test_companion_is_joined(monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    question = {"id": "q", "question": "Q?", "choices": {"label": ["A", "B"], "text": ["x", "y"]}, "answerKey": "B"}
    reason = {"id": "q", "question": "Q?", "abstractive_explanation": "so."}
    calls = _answer_with(monkeypatch, {"tau/commonsense_qa": [question], "Salesforce/cos_e": [reason]})
    assert examples(source, _question_set("commonsense_qa"), "validation")[0].rationale == "so"
    assert [(call["path"], call["name"], call["split"]) for call in calls] == [
        ("tau/commonsense_qa", None, "validation"),
        ("Salesforce/cos_e", "v1.11", "validation"),
    ]


def test_one_file_of_a_huge_set_is_downloaded(monkeypatch: pytest.MonkeyPatch, source: Source, tmp_path: Path) -> None:
    path = tmp_path / "shard.json.gz"
    rows = [{"text": f"document {i}", "timestamp": "2019-04-25T12:57:54Z", "url": "u"} for i in range(4)]
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    calls: list[tuple[Any, ...]] = []

    def download(repo: str, file: str, **options: Any) -> str:
        calls.append((repo, file, options))
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    documents = texts(source, _text_set("c4"), "validation")
    assert list(documents) == ["document 0", "document 1", "document 2", "document 3"]
    revision = "1588ec454efa1a09f29cd18ddd04fe05fc8653a2"
    assert calls == [
        ("allenai/c4", "en/c4-validation.00000-of-00008.json.gz", {"repo_type": "dataset", "revision": revision})
    ]
    with pytest.raises(UserError, match=r"allenai/c4.*split test.*no such split; this copy has train, validation"):
        texts(source, _text_set("c4"), "test")


def test_streamed_sets_stop_at_the_bound_and_are_kept(monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    monkeypatch.setattr(hub, "STREAMED_ROWS", 5)
    rows = [{"text": f"document {i}", "meta": {"i": i}} for i in range(9)]
    calls = _answer_with(monkeypatch, {"DKYoon/SlimPajama-6B": rows})
    loaded = source.rows(_text_set("slimpajama"), "train")
    assert list(loaded) == [{"text": f"document {i}"} for i in range(5)]
    assert (calls[0]["split"], calls[0]["streaming"]) == ("train", True)
    _fail_with(monkeypatch, ConnectionError("no network"))
    assert list(source.rows(_text_set("slimpajama"), "train")) == list(loaded)


def test_streamed_file_and_its_other_column_name(monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda _: True)
    calls = _answer_with(monkeypatch, {"json": [{"content": "web text", "metadata": {}}]})
    assert list(texts(source, _text_set("oscar"), "train")) == ["web text"]
    assert calls[0]["data_files"] == (
        f"hf://datasets/oscar-corpus/community-oscar@{FETCHED}/data/2024-38/en_meta/en_meta_part_1.jsonl.zst"
    )
    assert (calls[0]["split"], calls[0]["streaming"]) == ("train", True)
    with pytest.raises(UserError, match="no such split; this copy has train"):
        texts(source, _text_set("oscar"), "validation")


def test_zstandard_is_asked_for(monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pile.*train/00\.jsonl\.zst.*pip install zstandard"):
        texts(source, _text_set("pile"), "train")


def test_a_set_without_a_copy_names_the_ways_out(source: Source) -> None:
    with pytest.raises(UserError, match=r"data=hub, redpajama: .*slimpajama.*data=local"):
        texts(source, _text_set("redpajama"), "train")


def test_missing_columns_and_no_rows(monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    _answer_with(monkeypatch, {"openai/gsm8k": [{"question": "Q", "solution": "5"}]})
    with pytest.raises(UserError, match=r"openai/gsm8k \(main\).*column answer is missing.*found question, solution"):
        source.rows(_question_set("gsm8k"), "train")
    empty = datasets.Dataset.from_dict({"question": [], "answer": []})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: empty)
    with pytest.raises(UserError, match="has no rows"):
        source.rows(_question_set("gsm8k"), "train")


def _hidden(cause: Exception) -> Exception:
    """As `datasets` wraps what went wrong below it."""
    error = DatasetGenerationError("An error occurred while generating the dataset")
    error.__cause__ = cause
    return error


def _refused(status: int, headers: dict[str, str]) -> Exception:
    """A refusal of the hub, without the library's response object, whose package changes with its version."""
    error = errors.HfHubHTTPError.__new__(errors.HfHubHTTPError)
    Exception.__init__(error, f"{status} for url")
    error.response = SimpleNamespace(status_code=status, headers=headers)  # type: ignore[assignment]
    return error


def _of_http(name: str) -> Exception:
    """An error of the HTTP library below, which is another one from version to version."""
    return type(name, (Exception,), {})("peer closed connection")  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub"), "cannot be reached"),
        (TimeoutError("timed out"), "cannot be reached"),
        (errors.OfflineModeIsEnabled("offline mode is enabled"), "cannot be reached"),
        (errors.LocalEntryNotFoundError("not in the cache"), "cannot be reached"),
        (_hidden(ConnectionError("no route")), r"cannot be reached.*\(no route\)"),
        (DatasetNotFoundError("Dataset 'openai/gsm8k' doesn't exist on the Hub"), "no such repository"),
        (DatasetNotFoundError("Dataset 'openai/gsm8k' is a gated dataset on the Hub."), r"is gated.*hf auth login"),
        (errors.EntryNotFoundError("404"), "no such repository, revision or file"),
        (ValueError("Unknown split \"train\". Should be one of ['test']."), r"cannot be loaded \(ValueError: Unknown split"),
        (_refused(429, {"Retry-After": "7"}), r"limits the rate .*Run the same line again in 7 s: .*hf auth login"),
        (_refused(429, {}), r"limits the rate .*Run the same line again in a few minutes"),
        (_refused(502, {}), r"an error of its own \(502\)\. Run the same line again later"),
        (_hidden(_refused(503, {})), r"an error of its own \(503\)"),
        (OSError("Consistency check failed: file should be of size 9"), r"the transfer broke off .*Run the same line again"),
        (_hidden(_of_http("RemoteProtocolError")), r"the transfer broke off .*Run the same line again"),
        (_hidden(_of_http("ReadTimeout")), r"did not answer in time\. .*HF_HUB_DOWNLOAD_TIMEOUT=60"),
        (_hidden(OSError(28, "No space left on device")), "No space left on device"),
        (RuntimeError("Dataset scripts are no longer supported, but found gsm8k.py"), "scripts are no longer supported"),
        (OSError(), r"\(OSError: OSError\)"),
    ],
)
def test_failures_are_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, source: Source, error: Exception, told: str
) -> None:
    _fail_with(monkeypatch, error)
    with pytest.raises(UserError, match=told) as caught:
        source.rows(_question_set("gsm8k"), "train")
    message = str(caught.value)
    assert message.startswith(
        "data=hub, gsm8k: openai/gsm8k (main) at 740312add88f781978c0658806c59bc2815b9866, split train: "
    )
    assert "data=local with gsm8k/train.jsonl" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (errors.GatedRepoError, "gated"),
        (errors.RepositoryNotFoundError, "no such repository"),
        (errors.RevisionNotFoundError, "no such repository"),
        (errors.HfHubHTTPError, "cannot be loaded"),
    ],
)
def test_answers_of_the_hub(
    monkeypatch: pytest.MonkeyPatch, source: Source, kind: type[errors.HfHubHTTPError], told: str
) -> None:
    error = kind.__new__(kind)  # without the library's response object, whose package changes with its version
    Exception.__init__(error, "refused")
    _fail_with(monkeypatch, error)
    with pytest.raises(UserError, match=told) as caught:
        source.rows(_text_set("c4"), "train")
    assert "file en/c4-train.00000-of-01024.json.gz" in str(caught.value)


def test_a_refusal_that_datasets_hides_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    def refuse(_: str) -> Any:
        raise _refused(429, {"Retry-After": "9"})

    _fail_with(monkeypatch, FileNotFoundError("An error happened while trying to locate the file on the Hub"))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
    with pytest.raises(UserError, match=r"\(429\)\. Run the same line again in 9 s"):
        source.rows(_question_set("gsm8k"), "train")


def test_bugs_are_not_taken_for_user_errors(monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    _fail_with(monkeypatch, AttributeError("a bug"))
    with pytest.raises(AttributeError):
        source.rows(_question_set("gsm8k"), "train")


def test_every_set_is_pinned() -> None:
    branches: dict[str, tuple[str, str]] = {}
    for name, dataset in DATASETS.items():
        if not isinstance(dataset, TextSet | QuestionSet):
            continue
        companion = dataset.companion if isinstance(dataset, QuestionSet) else None
        copies = [copy for copy in (dataset.hub, companion and companion.hub) if isinstance(copy, Hub)]
        assert copies or dataset.hub_note
        for moving in (copy for copy in copies if len(copy.revision) != 40):
            branches[name] = moving.path, moving.revision
    assert branches == BRANCHES


def test_format_of_every_file_is_known() -> None:
    for dataset in DATASETS.values():
        copy = dataset.hub if isinstance(dataset, TextSet) else None
        for file in copy.files.values() if copy else ():
            assert hub._format(file) == ("parquet" if dataset.name == "refinedweb" else "json")
    assert hub._format("data/train.parquet") == "parquet"


def test_aliased_rows_of_the_hub(monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    _answer_with(monkeypatch, {"nyu-mll/glue": [{"text1": "A", "text2": "B", "label": 1}]})
    assert source.rows(_question_set("rte"), "train")[0] == {"sentence1": "A", "sentence2": "B", "label": 1}


@pytest.mark.parametrize(("name", "split"), [("esnli", "test"), ("oscar", "train"), ("commonsense_qa", "validation")])
def test_a_branch_is_identified_by_the_commit_that_was_fetched(
    name: str, split: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data, dataset = DataConfig(name=DataSource.hub), DATASETS[name]
    assert isinstance(dataset, TextSet | QuestionSet)
    known = data_identity(dataset, [split], data)
    repository, revision = BRANCHES[name]
    assert f"{repository}@{FETCHED}:" in str(known["hub"]) and not not_fetched(repositories(dataset, data))
    (tmp_path / "hub" / f"datasets--{repository.replace('/', '--')}" / "refs" / revision).write_text("beef" * 10)
    assert data_identity(dataset, [split], data) != known, "another commit is another set"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "nowhere"))
    assert [hub.path for hub in not_fetched(repositories(dataset, data))] == [repository]
    assert not not_fetched(repositories(dataset, DataConfig(name=DataSource.sample)))


@pytest.mark.parametrize("task", ["piqa", "hellaswag", "gsm8k"])
def test_lm_evals_own_repositories_count_by_their_commit(task: str, tmp_path: Path) -> None:
    config = EvalConfig(name="x", lm_eval_tasks=[task])
    (before,) = plan_metrics(config, DataConfig(name=DataSource.hub))
    (hub,) = before.hubs
    assert [found.path for found in not_fetched(before.hubs)] == [hub.path] and before.data["revision"] == "main"
    ref = tmp_path / "hub" / f"datasets--{hub.path.replace('/', '--')}" / "refs" / "main"
    ref.parent.mkdir(parents=True)
    ref.write_text(FETCHED)
    (after,) = plan_metrics(config, DataConfig(name=DataSource.hub))
    assert after.data["revision"] == FETCHED and after.asked != before.asked and not not_fetched(after.hubs)
    assert plan_metrics(config, DataConfig(name=DataSource.local, root=str(tmp_path)))[0].hubs == ()


def test_own_repositories_that_differ_in_one_key_are_not_one_set(tmp_path: Path) -> None:
    def identify(**keys: str) -> Any:
        own = OwnSetConfig(path="hub:me/notes", **keys)  # type: ignore[arg-type]
        return own_identity(define("notes", own), ["train"])  # type: ignore[arg-type]

    with one_look():
        found = [
            identify(),
            identify(config="en"),
            identify(split="test"),
            identify(config="de"),
            identify(revision="1" * 40),
        ]
    assert len({repr(identity) for identity in found}) == len(found)
    with one_look():
        assert identify() == identify(label="other")


def test_the_message_of_an_own_repository_names_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    _fail_with(monkeypatch, ValueError("BuilderConfig 'de' not found. Available: ['en']"))
    with pytest.raises(UserError) as caught:
        hub.read_split(Hub(path="me/notes", revision=FETCHED, config="de"), "train")
    told = str(caught.value)
    assert told.startswith(f"calib.path=hub:me/notes (de) at {FETCHED}, split train: ") and "data=local" not in told
    assert "Available: ['en']). Check calib.config and calib.split, or take files of these rows: calib.path=FILE." in told
