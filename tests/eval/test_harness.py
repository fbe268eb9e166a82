"""lm-eval's own tasks: its own model on its own definitions says the same, item by item; rows, errors, protocol."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache, reduce
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import pytest
import torch
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks.wikitext.preprocess_wikitext import wikitext_detokenizer
from small_models import make_llama, make_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from prune.cell.resources import Resources
from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig
from prune.data.dataset import QuestionSet, Row, TextSet, cluster_numbers
from prune.data.registry import find_dataset
from prune.data.sources.sample import sample_rows
from prune.data.sources.source import Source, examples, open_source
from prune.errors import UserError
from prune.eval.harness.index import read_definition
from prune.eval.harness.rows import read_split, to_pages
from prune.eval.measure import measure
from prune.eval.metric import Measured, PlannedMetric
from prune.eval.plan import plan_metrics
from prune.eval.questions.prompt import text_hash
from prune.eval.subject import Subject
from prune.tiny import FOLDER

SAMPLE = DataConfig(name=DataSource.sample)


@cache
def embedded() -> tuple[Any, Any]:
    """The embedded model in float32, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(FOLDER)


def planned(task: str, data: DataConfig = SAMPLE, **changes: Any) -> PlannedMetric:
    return plan_metrics(EvalConfig(name="q", lm_eval_tasks=[task], **changes), data)[0]


def score(metric: PlannedMetric, source: Source | None = None, batch_size: int = 3) -> Measured:
    model, tokenizer = embedded()
    return measure(metric, Subject(model, tokenizer, batch_size), source or open_source(SAMPLE))


def ask_hflm(
    task: str, rows: Mapping[str, Sequence[Row]], folder: Path, hflm: HFLM, *, limit: int, num_fewshot: int = 0
) -> dict[str, Any]:
    """lm-eval's report on its own definition of the task, whose dataset_path is overridden by local files of these rows."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for split, some in rows.items():
        files[split] = str(folder / f"{split}.jsonl")
        Path(files[split]).write_text("".join(json.dumps(dict(row)) + "\n" for row in some))
    local = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
    manager = TaskManager(include_path=str(read_definition(task).path.parent), include_defaults=False)
    spec = {"group": "local", "task": [{"task": task, **local, "num_fewshot": num_fewshot}]}
    report = lm_eval.simple_evaluate(
        hflm, tasks=[spec], task_manager=manager, limit=limit, bootstrap_iters=0, num_fewshot=num_fewshot, verbosity="ERROR"
    )
    assert report is not None
    return {"results": report["results"][task], "samples": report["samples"][task]}


def assert_equal(measured: Measured, theirs: Mapping[str, Any], task: str) -> None:
    """Log-likelihoods and what is right item by item, and every metric."""
    assert len(measured.items) == len(theirs["samples"])
    for item, sample in zip(measured.items, sorted(theirs["samples"], key=lambda sample: sample["doc_id"]), strict=True):
        expected = [float(reply[0]) for reply in sample["filtered_resps"]]
        assert item["logprobs"] == pytest.approx(expected, abs=2e-4)
        assert item["correct"] == (sample["acc"] == 1.0)
        if "acc_norm" in sample:
            assert item["correct_norm"] == (sample["acc_norm"] == 1.0)
    metrics = {f"lm_eval/{task}/acc": measured.metric} | dict(measured.beside)
    for name, metric in metrics.items():
        assert metric.value == pytest.approx(theirs["results"][f"{name.rpartition('/')[2]},none"])


def make_hflm() -> HFLM:
    model, tokenizer = embedded()
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1)


SETS = {
    "winogrande": ("winogrande", "validation"),
    "boolq": ("boolq", "validation"),
    "commonsense_qa": ("commonsense_qa", "validation"),
    "rte": ("rte", "validation"),
    "hellaswag": ("hellaswag", "validation"),
    "arc_easy": ("arc_easy", "test"),
    "arc_challenge": ("arc_challenge", "test"),
    "openbookqa": ("openbookqa", "test"),
}


def hub_rows(name: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows with the columns of the repository that the definition names; only BoolQ's copy differs from ours."""
    return [dict(row) | ({"label": int(row["answer"])} if name == "boolq" else {}) for row in rows]


@pytest.mark.parametrize("task", SETS)
def test_generated_rows_score_as_with_hflm(task: str, tmp_path: Path) -> None:
    name, split = SETS[task]
    rows = {part: hub_rows(name, sample_rows(name, part)) for part in ("train", split)}
    theirs = ask_hflm(task, rows, tmp_path, make_hflm(), limit=12)
    assert_equal(score(planned(task, limit=12)), theirs, task)


def test_exemplars_are_those_of_lm_eval(tmp_path: Path) -> None:
    rows = {part: hub_rows("boolq", sample_rows("boolq", part)) for part in ("train", "validation")}
    theirs = ask_hflm("boolq", rows, tmp_path, make_hflm(), limit=6, num_fewshot=2)
    measured = score(planned("boolq", limit=6, num_fewshot=2))
    assert_equal(measured, theirs, "boolq")
    assert (measured.metric.protocol["num_fewshot"], measured.metric.protocol["fewshot_seed"]) == (2, 1234)


@pytest.mark.parametrize("task", ["winogrande", "boolq", "commonsense_qa", "rte"])
def test_real_rows_score_as_with_hflm(task: str, tmp_path: Path, shared_data: Path) -> None:
    local = DataConfig(name=DataSource.local, root=str(shared_data))
    source = open_source(local)
    model, tokenizer = embedded()
    name, split = SETS[task]
    rows = short_rows(read_split(read_definition(task), split, source), tokenizer)
    theirs = ask_hflm(task, {"train": rows, split: rows}, tmp_path, make_hflm(), limit=8)
    write_rows(tmp_path / "root" / name / f"{split}.jsonl", rows)
    data = DataConfig(name=DataSource.local, root=str(tmp_path / "root"))
    measured = measure(planned(task, data, limit=8), Subject(model, tokenizer, 4), open_source(data))
    assert_equal(measured, theirs, task)


def short_rows(rows: Sequence[Row], tokenizer: Any) -> list[dict[str, Any]]:
    """The first rows that the embedded model's window holds."""
    return [dict(row) for row in rows[:60] if len(tokenizer(json.dumps(dict(row)))["input_ids"]) < 500][:20]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(dict(row)) + "\n" for row in rows))


# Word perplexity


WIKI = [
    *("", " = First page = \n", "", " It has 1 @,@ 000 words . \n", " = = A part = = \n", " More of it : here . \n"),
    *("", " = Second page = \n", " Short . \n"),
]


def test_pages_begin_with_a_heading_of_the_first_rank() -> None:
    pages = to_pages(WIKI)
    assert pages == [
        " = First page = \n \n It has 1 @,@ 000 words . \n = = A part = = \n More of it : here . \n ",
        " = Second page = \n Short . \n",
    ]
    assert to_pages([line.removesuffix("\n") for line in WIKI]) == [pages[0], pages[1]]


def test_the_test_split_has_as_many_pages_as_the_document_level_copy(shared_data: Path) -> None:
    source = open_source(DataConfig(name=DataSource.local, root=str(shared_data)))
    assert len(read_split(read_definition("wikitext"), "test", source)) == 62


@pytest.mark.parametrize("window", [24, 512])
def test_word_perplexity_is_that_of_a_loop_over_the_text(window: int, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer), window=window)
    write_rows(tmp_path / "wikitext2" / "test.jsonl", [{"text": text} for text in WIKI])
    data = DataConfig(name=DataSource.local, root=str(tmp_path))
    measured = measure(planned("wikitext", data), Subject(model, tokenizer, 2), open_source(data))
    said = [" = First page = \n It has 1,000 words. \n == A part ==\nMore of it: here.\n", " = Second page =\nShort.\n"]
    assert measured.metric.num_items == 2 and not measured.metric.higher_is_better
    assert "prompt" not in measured.items[0] and "prompt_sha256" not in measured.metric.protocol
    assert measured.metric.chance is None and measured.metric.stderr is not None
    pages = to_pages(WIKI)
    texts = [wikitext_detokenizer({"page": page}) for page in pages]
    assert [" ".join(text.split()) for text in texts] == [" ".join(text.split()) for text in said]
    losses = [-naive_rolling(model, tokenizer, text, window) for text in texts]
    words = [len(re.split(r"\s+", page)) for page in pages]
    assert measured.metric.value == pytest.approx(math.exp(sum(losses) / sum(words)), rel=1e-5)
    assert [item["loss"] for item in measured.items] == pytest.approx(
        [loss / count for loss, count in zip(losses, words, strict=True)], rel=1e-5
    )
    assert [item["num_words"] for item in measured.items] == words
    num_bytes = sum(len(page.encode()) for page in pages)
    bits = measured.beside["lm_eval/wikitext/bits_per_byte"].value
    assert bits == pytest.approx(sum(losses) / num_bytes / math.log(2), rel=1e-5)


def naive_rolling(model: Any, tokenizer: Any, text: str, window: int) -> float:
    """Each token's log-probability in float64, BOS before the text: in windows side by side, the last reaches back."""
    ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    total = 0.0
    for start in range(0, len(ids) - 1, window):
        end = min(start + window, len(ids) - 1)
        first = max(0, end - window)
        with torch.no_grad():
            logprobs = model(input_ids=torch.tensor([ids[first:end]])).logits[0].double().log_softmax(-1)
        total += sum(float(logprobs[place - first, ids[place + 1]]) for place in range(start, end))
    return total


def test_a_perplexity_beyond_the_largest_float_is_that_and_says_so(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    model = make_llama(len(tokenizer))
    with torch.no_grad():
        model.lm_head.weight.mul_(1e4)
    write_rows(tmp_path / "wikitext2" / "test.jsonl", [{"text": text} for text in WIKI])
    data = DataConfig(name=DataSource.local, root=str(tmp_path))
    measured = measure(planned("wikitext", data), Subject(model, tokenizer, 2), open_source(data))
    assert measured.metric.protocol["overflow"] and math.isfinite(measured.metric.value)
    json.dumps(measured.metric.to_dict(), allow_nan=False)


@pytest.mark.parametrize("task", ["wikitext", "openbookqa"])
def test_every_score_says_its_measure_and_where_its_items_are(task: str, tmp_path: Path) -> None:
    """And the items give the score: they are what two cells are compared on."""
    write_rows(tmp_path / "wikitext2" / "test.jsonl", [{"text": text} for text in WIKI])
    local = DataConfig(name=DataSource.local, root=str(tmp_path))
    data = local if task == "wikitext" else SAMPLE
    metric = planned(task, data, limit=8)
    measured = score(metric, open_source(data))
    scores = {metric.name: measured.metric} | dict(measured.beside)
    told = {name.rpartition("/")[2]: (each.unit, each.scale, each.higher_is_better) for name, each in scores.items()}
    expected = {
        "wikitext": {
            "word_perplexity": ("perplexity per word", "log", False),
            "byte_perplexity": ("perplexity per byte", "log", False),
            "bits_per_byte": ("bits per byte", "linear", False),
        },
        "openbookqa": {"acc": ("accuracy", "linear", True), "acc_norm": ("accuracy", "linear", True)},
    }
    assert told == expected[task]
    items = json.loads(json.dumps(measured.items, allow_nan=False))
    for name, each in scores.items():
        assert each.items is not None and each.items.metric == metric.name, name
        values = [reduce(lambda entry, key: entry[key], each.items.keys, item) for item in items]
        keys = each.items.weight_keys
        weights = [1.0 if keys is None else reduce(lambda entry, key: entry[key], keys, item) for item in items]
        mean = math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights)
        assert mean == pytest.approx(math.log(each.value) if each.scale == "log" else each.value, rel=1e-12), name
    assert measured.metric.protocol["set"] == ("wikitext2" if task == "wikitext" else "openbookqa")


def test_a_direction_that_lm_eval_does_not_tell_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConfigurableTask, "higher_is_better", lambda self: {"acc": True, "acc_norm": None})
    with pytest.raises(UserError, match=r"lm_eval/openbookqa: lm-eval does not say whether a higher acc_norm is better"):
        score(planned("openbookqa", limit=2))


# What a metric says


def test_the_metric_says_how_it_was_measured() -> None:
    measured = score(planned("openbookqa", limit=10))
    metric, norm = measured.metric, measured.beside["lm_eval/openbookqa/acc_norm"]
    assert metric.num_items == 10 and metric.higher_is_better and metric.chance == pytest.approx(0.25)
    right = sum(item["correct"] for item in measured.items)
    assert metric.value == right / 10
    assert metric.stderr == pytest.approx(math.sqrt(right / 10 * (1 - right / 10) / 9))
    assert norm.value == sum(item["correct_norm"] for item in measured.items) / 10
    protocol = metric.protocol
    assert (protocol["task"], protocol["version"], protocol["num_fewshot"]) == ("openbookqa", "1.0", 0)
    assert (protocol["lm_eval"], protocol["dataset"], protocol["split"]) == (
        lm_eval.__version__,
        "allenai/openbookqa/main",
        "test",
    )
    assert protocol["definition_sha256"] == read_definition("openbookqa").sha256 and len(protocol["definition_sha256"]) == 64
    assert protocol["template"] == "question_stem" and protocol["filter"] == "none"
    rows = sample_rows("openbookqa", "test")
    first = rows[0]["question_stem"]
    assert [item.get("prompt") for item in measured.items] == [first, *[None] * 9]
    assert protocol["prompt_sha256"] == norm.protocol["prompt_sha256"] == text_hash(first)
    for item, row in zip(measured.items, rows, strict=False):
        texts = row["choices"]["text"]
        assert item["gold"] == texts[row["choices"]["label"].index(row["answerKey"])]
        assert item["prediction"] == texts[item["logprobs"].index(max(item["logprobs"]))]
    json.dumps(measured.items, allow_nan=False)


def test_each_filter_of_a_generated_answer_is_a_metric() -> None:
    measured = score(planned("gsm8k", limit=4, num_fewshot=1))
    assert set(measured.beside) == {"lm_eval/gsm8k/exact_match.flexible-extract"}
    assert measured.metric.protocol["filter"] == "strict-match" and measured.metric.chance is None
    flexible = [item["scores"]["exact_match.flexible-extract"] for item in measured.items]
    assert measured.beside["lm_eval/gsm8k/exact_match.flexible-extract"].value == sum(flexible) / 4
    assert all(item["correct"] == (item["scores"]["exact_match.strict-match"] == 1.0) for item in measured.items)


def test_progress_reaches_the_number_of_prompts() -> None:
    model, tokenizer = embedded()
    told: list[tuple[int, int]] = []
    subject = Subject(model, tokenizer, 2, on_progress=lambda done, total: told.append((done, total)))
    measure(planned("winogrande", limit=3), subject, open_source(SAMPLE))
    assert told[-1] == (6, 6)  # a prompt for each name that the blank may stand for


def test_logits_that_are_not_numbers_and_prompts_that_do_not_fit() -> None:
    tokenizer = make_tokenizer()
    with pytest.raises(UserError, match=r"lm_eval/boolq: \d+ of 6 requests do not fit the model's window of 40"):
        subject = Subject(make_llama(len(tokenizer), window=40), tokenizer, 2)
        measure(planned("boolq", limit=3), subject, open_source(SAMPLE))
    model = make_llama(len(tokenizer), window=4096)
    with torch.no_grad():
        model.lm_head.weight.fill_(math.nan)
    for task in ("boolq", "wikitext"):
        with pytest.raises(UserError, match=f"lm_eval/{task}: the model's logits are not numbers"):
            measure(planned(task, limit=2), Subject(model, tokenizer, 2), open_source(SAMPLE))


def test_the_same_set_with_and_without_its_rationales_is_not_mixed_up() -> None:
    source = Resources().source(SAMPLE)
    read_split(read_definition("commonsense_qa"), "validation", source)
    dataset = find_dataset("commonsense_qa")
    assert isinstance(dataset, QuestionSet)
    assert examples(source, dataset, "validation")[0].rationale is not None


# Rows


PIQA = [{"goal": f"Open can {n}", "sol1": "use an opener", "sol2": "use a spoon", "label": n % 2} for n in range(4)]


def test_sets_that_are_not_defined_here_are_read_from_their_folder(tmp_path: Path) -> None:
    write_rows(tmp_path / "piqa" / "validation.jsonl", PIQA)
    data = DataConfig(name=DataSource.local, root=str(tmp_path))
    measured = score(planned("piqa", data), open_source(data))
    assert [item["gold"] for item in measured.items] == ["use an opener", "use a spoon"] * 2
    described = measured.metric.protocol["data"]
    assert described["source"] == "local" and described["rows"] and str(tmp_path) not in str(described)


def test_chance_is_told_only_where_guessing_has_a_meaning(tmp_path: Path) -> None:
    row = {
        "question": "What is red?",
        "mc1_targets": {"choices": ["blood", "roses", "milk"], "labels": [1, 0, 0]},
        "mc2_targets": {"choices": ["blood", "roses", "milk"], "labels": [1, 1, 0]},
    }
    write_rows(tmp_path / "truthful_qa" / "multiple_choice" / "validation.jsonl", [row] * 2)
    data = DataConfig(name=DataSource.local, root=str(tmp_path))
    assert score(planned("truthfulqa_mc1", data), open_source(data)).metric.chance == pytest.approx(1 / 3)
    share = score(planned("truthfulqa_mc2", data), open_source(data)).metric  # the probability of all that is true
    assert share.chance is None and 0 < share.value < 1


def test_as_many_exemplars_as_there_are() -> None:
    source, boolq = open_source(SAMPLE), find_dataset("boolq")
    assert isinstance(boolq, QuestionSet)
    num_rows = len(source.rows(boolq, "train"))
    assert planned("boolq", num_fewshot=num_rows).settings.check_rows(source) == len(source.rows(boolq, "validation"))
    assert planned("anli_r1", num_fewshot=1).settings.check_rows(source) > 0, "splits that are named otherwise here"
    with pytest.raises(UserError, match=rf"lm_eval/boolq: .* train split .* has {num_rows} rows .* at most {num_rows}\."):
        planned("boolq", num_fewshot=num_rows + 1).settings.check_rows(source)


def test_an_item_is_no_exemplar_of_its_own(tmp_path: Path) -> None:
    """Of a task without a training split, exemplars are drawn from the rows that are scored."""
    write_rows(tmp_path / "lambada_openai" / "default" / "test.jsonl", [{"text": f"a b {word}"} for word in "cde"])
    data = DataConfig(name=DataSource.local, root=str(tmp_path))
    assert planned("lambada_openai", data, num_fewshot=2).settings.check_rows(open_source(data)) == 3
    with pytest.raises(UserError, match="at most 2"):
        planned("lambada_openai", data, num_fewshot=3).settings.check_rows(open_source(data))
    score(planned("lambada_openai", data, num_fewshot=2), open_source(data))


def test_items_of_our_sets_carry_their_clusters() -> None:
    source, boolq = open_source(SAMPLE), find_dataset("boolq")
    assert isinstance(boolq, QuestionSet)
    clusters = cluster_numbers(examples(source, boolq, "validation")[:12])
    assert [item["cluster"] for item in score(planned("boolq", limit=12)).items] == clusters
    assert all("cluster" not in item for item in score(planned("wikitext", limit=1)).items)


def test_the_last_word_of_a_text(tmp_path: Path) -> None:
    texts = [f"Anna went to the {place}" for place in ("shop", "farm", "bank")]
    write_rows(tmp_path / "lambada_openai" / "default" / "test.jsonl", [{"text": text} for text in texts])
    data = DataConfig(name=DataSource.local, root=str(tmp_path))
    measured = score(planned("lambada_openai", data), open_source(data))
    losses = [item["loss"] for item in measured.items]
    assert measured.metric.value == pytest.approx(math.exp(sum(losses) / 3)) and not measured.metric.higher_is_better
    right = [item["scores"]["acc"] for item in measured.items]
    assert [item["prediction"] for item in measured.items] == [value == 1.0 for value in right]
    assert measured.beside["lm_eval/lambada_openai/acc"].value == sum(right) / 3
    model, tokenizer = embedded()
    for text, loss in zip(texts, losses, strict=True):
        ids = tokenizer(text)["input_ids"]
        start = len(tokenizer(text.rpartition(" ")[0])["input_ids"])
        with torch.no_grad():
            logprobs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = -sum(float(logprobs[place - 1, ids[place]]) for place in range(start, len(ids)))
        assert loss == pytest.approx(expected, abs=1e-3)


def test_configurations_are_folders_of_their_own(tmp_path: Path) -> None:
    row = {"question": "2+2?", "choices": ["1", "2", "3", "4"], "answer": 3, "subject": "algebra"}
    write_rows(tmp_path / "mmlu" / "abstract_algebra" / "test.jsonl", [row])
    data = DataConfig(name=DataSource.local, root=str(tmp_path))
    (item,) = score(planned("mmlu_abstract_algebra", data), open_source(data)).items
    assert item["gold"] == "D"
    with pytest.raises(UserError, match=r"lm_eval/mmlu_anatomy: data=local: the folder .*mmlu/anatomy does not exist"):
        score(planned("mmlu_anatomy", data), open_source(data))


def test_rows_of_another_form_are_told(tmp_path: Path) -> None:
    write_rows(tmp_path / "piqa" / "validation.jsonl", [{"goal": "Open", "sol1": "a", "label": 0}])
    data = DataConfig(name=DataSource.local, root=str(tmp_path))
    with pytest.raises(
        UserError, match=r"lm_eval/piqa: the rows do not have the form of baber/piqa.*are there: goal, sol1, label"
    ):
        score(planned("piqa", data), open_source(data))
    write_rows(tmp_path / "piqa" / "validation.jsonl", [PIQA[0], PIQA[1] | {"label": None}])
    with pytest.raises(UserError, match=r"lm_eval/piqa, row 1 \(the first is 0\).*answer None is none of its 2 choices"):
        score(planned("piqa", data), open_source(data))
    write_rows(tmp_path / "boolq" / "validation.jsonl", [{"question": "q", "passage": "p", "answer": "maybe"}])
    with pytest.raises(UserError, match=r"lm_eval/boolq: .*boolq/validation, .*line 1: .*must be true or false"):
        score(planned("boolq", data), open_source(data))


class Rows:
    """A source of the given rows."""

    name = "local"

    def __init__(self, **rows: Sequence[Row]) -> None:
        self._rows = rows

    def rows(self, dataset: TextSet | QuestionSet, split: str) -> Sequence[Row]:
        return self._rows[f"{dataset.name}_{split}"]


def test_rows_get_the_columns_of_the_repository() -> None:
    source = Rows(
        boolq_validation=[{"question": "q", "passage": "p", "answer": True}],
        rte_validation=[{"sentence1": "a", "sentence2": "b", "label": "not_entailment"}],
        anli_r2_test=[{"premise": "a", "hypothesis": "b", "label": "neutral", "reason": None}],
        commonsense_qa_validation=[
            {"id": "1", "question": "q", "choices": {"label": ["A"], "text": ["x"]}, "answerKey": "A"}
        ],
    )
    assert read_split(read_definition("boolq"), "validation", source)[0]["label"] == 1
    assert read_split(read_definition("rte"), "validation", source)[0]["label"] == 1
    assert read_split(read_definition("anli_r2"), "test_r2", source)[0]["label"] == 1
    glue = read_split(read_definition("sglue_rte"), "validation", source)[0]
    assert (glue["premise"], glue["hypothesis"], glue["label"]) == ("a", "b", 1)
    assert "abstractive_explanation" not in read_split(read_definition("commonsense_qa"), "validation", source)[0]


def test_the_hub_is_asked_as_lm_eval_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def load_dataset(**arguments: Any) -> Any:
        calls.append(arguments)
        return datasets.DatasetDict({split: datasets.Dataset.from_list(PIQA) for split in ("train", "validation")})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("prune.data.sources.hub.fetch_commit", lambda hub: "0" * 40)
    data = DataConfig(name=DataSource.hub)
    metric = planned("piqa", data)
    assert metric.data == {"source": "hub", "hub": "baber/piqa", "config": None, "revision": "main"}
    assert score(metric, open_source(data)).metric.num_items == 4
    assert calls == [{"path": "baber/piqa", "name": None, "revision": "0" * 40}]


@pytest.mark.slow
def test_without_a_network_the_ways_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**arguments: Any) -> Any:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    data = DataConfig(name=DataSource.hub)
    with pytest.raises(
        UserError, match=r"lm_eval/piqa: .*baber/piqa.*cannot be reached.*data=local with piqa/validation.jsonl"
    ):
        score(planned("piqa", data), open_source(data))
