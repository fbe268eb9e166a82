"""launcher=prepare against a small hub with the real clients; then the same sweep without any network."""

import gzip
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save

from prune.config.data import DataConfig, DataSource
from prune.config.model import ModelConfig
from prune.data.dataset import Hub, QuestionSet, TextSet
from prune.data.registry import DATASETS
from prune.data.sources.sample import sample_rows
from prune.data.sources.source import open_source
from prune.errors import UserError
from prune.models.fetch import missing_files, needed_files
from prune.models.files import EMBEDDED_FOLDER, check_model
from prune.models.load import load_model, load_tokenizer
from prune.sweep.launchers.prepare import READY
from prune.sweep.missing import explain_missing, prepare_line
from tests.conftest import HANGS_S
from tests.warm import run_warm

from ..hub_server import Repo, serve

COMMIT = "c0ffee" + "0" * 34
LINE = (
    *("model=hf", "model.path=owner/tiny", "model.seq_len=64", "data=hub", "calib=gsm8k", "calib.num_samples=2"),
    *("calib.seq_len=64", "eval=perplexity", "eval.perplexity=[c4]", "eval.num_chunks=1", "eval.seq_len=64", "tracker=none"),
)
NOWHERE = "http://127.0.0.1:9"
"""A port that nobody listens on."""


def model_repo(name: str, gated: bool = False) -> Repo:
    """The embedded model in two shards, and files beside it that are not for transformers."""
    names = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    files = {name: (EMBEDDED_FOLDER / name).read_bytes() for name in names}
    tensors = load_file(EMBEDDED_FOLDER / "model.safetensors")
    shard_of = {key: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, key in enumerate(sorted(tensors))}
    for shard in set(shard_of.values()):
        files[shard] = save({key: tensors[key] for key in tensors if shard_of[key] == shard}, {"format": "pt"})
    files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": shard_of}).encode()
    others = dict.fromkeys(("original/consolidated.00.pth", "pytorch_model.bin", "onnx/config.json", "README.md"), b"-")
    return Repo(kind="models", id=name, files=files | others, commit=COMMIT, gated=gated)


def gsm8k_repo() -> Repo:
    hub, files = hub_of("gsm8k"), {}
    for split in ("train", "test"):
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([dict(row) for row in sample_rows("gsm8k", split)]), stream)
        files[f"main/{split}-00000-of-00001.parquet"] = stream.getvalue()
    data_files = "".join(f"  - split: {split}\n    path: main/{split}-*\n" for split in ("train", "test"))
    files["README.md"] = f"---\nconfigs:\n- config_name: main\n  data_files:\n{data_files}---\n".encode()
    return Repo(kind="datasets", id=hub.path, files=files, commit=hub.revision)


def c4_repo() -> Repo:
    hub = hub_of("c4")
    lines = "".join(json.dumps(dict(row)) + "\n" for row in sample_rows("c4", "validation"))
    files = {hub.files["validation"]: gzip.compress(lines.encode())}
    return Repo(kind="datasets", id=hub.path, files=files, commit=hub.revision)


def hub_of(name: str) -> Hub:
    dataset = DATASETS[name]
    assert isinstance(dataset, TextSet | QuestionSet) and dataset.hub is not None
    return dataset.hub


def run(folder: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m prune.main -m` in `folder`, with the hub's cache there."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environment = clean | {"HF_HOME": str(folder / "hub"), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"} | environment
    folder.mkdir(exist_ok=True)
    return run_warm("prune.main", ["-m", *overrides], folder, environment, HANGS_S)


@dataclass(frozen=True)
class Prepared:
    folder: Path
    said: subprocess.CompletedProcess[str]

    @property
    def snapshot(self) -> Path:
        return self.folder / "hub" / "hub" / "models--owner--tiny" / "snapshots" / COMMIT


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A folder in which a sweep was prepared; the hub is gone since."""
    folder = tmp_path_factory.mktemp("prepared")
    with serve(model_repo("owner/tiny"), gsm8k_repo(), c4_repo()) as endpoint:
        said = run(folder, *LINE, "launcher=prepare", HF_ENDPOINT=endpoint)
    assert said.returncode == 0, said.stderr
    return Prepared(folder, said)


@pytest.fixture
def cache(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prepared]:
    """A copy of what was prepared, for this process, which is offline; a test may break it."""
    import datasets

    folder = tmp_path / "copy"
    shutil.copytree(prepared.folder, folder, symlinks=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub" / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "hub" / "datasets"))
    yield Prepared(folder, prepared.said)


def tiny(**fields: Any) -> ModelConfig:
    usual: dict[str, Any] = {"name": "tiny", "path": "owner/tiny", "seq_len": 64}
    return ModelConfig(**usual | fields)


def things(said: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What was said, by thing; names up to the first bracket."""
    lines = [line.split(": ", 1) for line in said.stdout.splitlines() if line.endswith(" s")]
    return {name.partition(" (")[0]: what.rsplit("  ", 1)[0] for name, what in lines}


def test_models_rows_and_sets_are_brought(prepared: Prepared) -> None:
    (calib,) = (prepared.folder / "outputs" / "calib").iterdir()
    found = things(prepared.said)
    calibration, said = found.popitem()
    assert found == {
        "model owner/tiny": "fetched, 2.4 MB, commit c0ffee00",
        "rows c4/validation": "fetched, 200 rows",
        "rows gsm8k/train": "fetched, 600 rows",
    }
    assert calibration.startswith("calibration set by recipe ") and said == f"built, 128 tokens, set {calib.name}"
    assert READY in prepared.said.stdout
    assert not list((prepared.folder / "outputs").glob("cells/*/result.json"))


def test_only_what_transformers_reads_is_fetched(prepared: Prepared) -> None:
    assert sorted(path.name for path in prepared.snapshot.rglob("*")) == [
        "config.json",
        "generation_config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_then_the_sweep_runs_without_a_network(prepared: Prepared) -> None:
    said = run(prepared.folder, *LINE, HF_HUB_OFFLINE="1", HF_ENDPOINT=NOWHERE)
    assert said.returncode == 0, said.stderr
    results = [json.loads(path.read_text()) for path in (prepared.folder / "outputs").glob("cells/*/result.json")]
    assert sorted(result["axes"]["method"] for result in results) == ["dense", "wanda"]


def test_the_second_time_all_is_there_even_without_a_hub(prepared: Prepared) -> None:
    said = run(prepared.folder, *LINE, "launcher=prepare", HF_ENDPOINT=NOWHERE)
    assert said.returncode == 0, said.stderr
    assert {what.partition(",")[0] for what in things(said).values()} == {"there"} and len(things(said)) == 4
    assert "Only what is in the cache can be used: the hub cannot be reached (ConnectError" in said.stdout
    assert READY in said.stdout


def test_what_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    with serve(model_repo("owner/tiny"), model_repo("owner/closed", gated=True), gsm8k_repo()) as endpoint:
        said = run(
            tmp_path, *LINE, "model.path=owner/closed,owner/absent,owner/tiny", "launcher=prepare", HF_ENDPOINT=endpoint
        )
    assert said.returncode == 2 and "Traceback" not in said.stderr
    found = things(said)
    sets = {name: found.pop(name) for name in list(found) if name.startswith("calibration set")}
    assert found == {
        "model owner/closed": "failed",
        "model owner/absent": "failed",
        "model owner/tiny": "fetched, 2.4 MB, commit c0ffee00",
        "rows c4/validation": "failed",
        "rows gsm8k/train": "fetched, 600 rows",
    }
    assert sorted(re.sub("set [0-9a-f]{16}$", "set ", said) for said in sets.values()) == [
        "built, 128 tokens, set ",
        "left out, because it needs the model owner/absent",
        "left out, because it needs the model owner/closed",
    ]
    problems = said.stderr[said.stderr.index("prune: Not everything") :].splitlines()
    assert problems[0] == "prune: Not everything could be prepared."
    assert problems[1].startswith(
        "- model owner/closed: model.path=owner/closed: this repository is gated. Accept its terms"
    )
    assert problems[2].startswith("- model owner/absent: model.path=owner/absent: there is no such folder here, and no such")
    assert problems[3].startswith("- rows c4/validation (data=hub): data=hub, c4: allenai/c4 at ")
    assert (
        problems[4].startswith("Fix this and run the same line again: python -m prune.main -m model=hf ")
        and len(problems) == 5
    )


def test_a_hub_out_of_reach_is_said_once_for_each_thing(tmp_path: Path) -> None:
    said = run(tmp_path, *LINE, "model.path=owner/other", "calib=ellipses", "launcher=prepare", HF_ENDPOINT=NOWHERE)
    assert said.returncode == 2 and "Traceback" not in said.stderr
    assert "Only what is in the cache can be used: the hub cannot be reached" in said.stdout
    problems = said.stderr[said.stderr.index("prune: Not everything") :].splitlines()
    assert len(problems) == 4
    assert "model.path=owner/other" in problems[1] and "the hub cannot be reached" in problems[1]
    assert "allenai/c4" in problems[2] and "the hub cannot be reached and no copy was fetched before" in problems[2]


def forget_list(cache: Prepared) -> None:
    """Leave the cache as transformers does when it fetches file by file: without the list of the repository's files."""
    shutil.rmtree(cache.snapshot.parents[1] / "trees")


@pytest.mark.parametrize("listed", [True, False])
def test_a_missing_shard_is_noticed(cache: Prepared, listed: bool) -> None:
    if not listed:
        forget_list(cache)
    assert missing_files(tiny()) is None
    shard = "model-00002-of-00002.safetensors"
    (cache.snapshot / shard).unlink()
    assert missing_files(tiny()) == f"model.path=owner/tiny: {shard} is not in the hub's local cache."
    with pytest.raises(UserError) as caught:
        load_model(tiny(), "cpu", load_tokenizer(tiny()))
    assert shard in str(explain_missing(caught.value, LINE, tiny()))


@pytest.mark.parametrize("lost", ["config.json", "tokenizer.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("listed", [True, False])
def test_any_other_missing_file_is_noticed(cache: Prepared, lost: str, listed: bool) -> None:
    (cache.snapshot / lost).unlink()
    if not listed:
        forget_list(cache)
    problem = missing_files(tiny())
    assert problem and (lost in problem or "no weights" in problem)


def test_a_model_that_is_not_in_the_cache_at_all(cache: Prepared) -> None:
    assert "nothing of this model" in str(missing_files(tiny(path="owner/other")))
    other = missing_files(tiny(revision="v2"))
    assert other and other.startswith("model.path=owner/tiny model.revision=v2: nothing of this model")
    assert missing_files(tiny(path=None)) is None
    assert missing_files(tiny(path=str(EMBEDDED_FOLDER))) is None


def test_offline_the_line_that_prepares_is_named(cache: Prepared) -> None:
    line = "python -m prune.main -m model=hf model.path=owner/tiny"
    with pytest.raises(UserError) as caught:
        check_model(tiny(path="owner/other"))
    assert line in str(explain_missing(caught.value, LINE))
    with pytest.raises(UserError) as caught:
        open_source(DataConfig(name=DataSource.hub)).rows(split_of("svamp"), "train")
    told = str(explain_missing(caught.value, LINE, tiny()))
    assert told.splitlines()[0] == str(caught.value)
    assert told.splitlines()[1].startswith(f"This line fetches it, where there is a network: {line}")
    for path in cache.snapshot.glob("model*"):
        path.unlink()
    with pytest.raises(UserError) as caught:  # transformers then says only that there are none
        load_model(tiny(), "cpu", load_tokenizer(tiny()))
    assert line in str(explain_missing(caught.value, LINE, tiny()))


def split_of(name: str) -> TextSet | QuestionSet:
    dataset = DATASETS[name]
    assert isinstance(dataset, TextSet | QuestionSet)
    return dataset


def test_offline_rows_of_another_revision_are_refused(cache: Prepared) -> None:
    source = open_source(DataConfig(name=DataSource.hub))
    assert len(source.rows(split_of("gsm8k"), "train")) == 600
    (kept,) = (cache.folder / "hub" / "datasets" / "openai___gsm8k" / "main" / "0.0.0").glob("*/dataset_info.json")
    kept.parent.rename(kept.parent.with_name("1" * 40))
    with pytest.raises(UserError, match="the newest copy in the cache is of another revision") as caught:
        source.rows(split_of("gsm8k"), "train")
    assert explain_missing(caught.value, LINE) is not None
    (cache.folder / "hub" / "datasets" / "openai___gsm8k" / "main").rename(kept.parents[3] / "socratic")
    with pytest.raises(UserError, match="Couldn't find cache") as caught:
        source.rows(split_of("gsm8k"), "train")
    assert explain_missing(caught.value, LINE) is not None


def test_other_errors_are_not_explained(cache: Prepared) -> None:
    assert explain_missing(UserError("a value is wrong"), LINE, tiny()) is None
    assert explain_missing(ConnectionError("a bug"), LINE, tiny()) is None


def test_prepare_line_leaves_out_the_launcher_and_is_quoted() -> None:
    overrides = ["calib=c4,gsm8k", "eval.tasks=[rte]", "launcher=slurm", "launcher.setup=['module load x']", "data=hub"]
    kept = "python -m prune.main -m calib=c4,gsm8k 'eval.tasks=[rte]' data=hub launcher=prepare"
    assert prepare_line(overrides) == kept
    more = ["hydra/launcher=basic", "++launcher.x=1", "~launcher", "hydra.launcher.y=2"]
    assert prepare_line([*overrides, *more]) == kept
    assert prepare_line(["sweep.name=launcher"]) == "python -m prune.main -m sweep.name=launcher launcher=prepare"


SMALL = ("config.json", "tokenizer.json", "merges.txt", "chat_template.jinja")
SHARDED = "pytorch_model.bin.index.json"


@pytest.mark.parametrize(
    ("names", "gguf_file", "needed"),
    [
        ((*SMALL, "model.safetensors", "pytorch_model.bin"), None, {*SMALL, "model.safetensors"}),
        ((*SMALL, "pytorch_model.bin", "consolidated.safetensors"), None, {*SMALL, "pytorch_model.bin"}),
        ((*SMALL, "model.safetensors", SHARDED), None, {*SMALL, "model.safetensors"}),
        ((*SMALL, SHARDED), None, {*SMALL, SHARDED, "part-1", "part-2"}),
        ((*SMALL, "model.safetensors", "x.onnx", "model.py", "x/y.json"), None, {*SMALL, "model.safetensors"}),
        ((*SMALL, "a.Q4.gguf", "b.Q8.gguf"), "b.Q8.gguf", {*SMALL, "b.Q8.gguf"}),
        (("README.md", "q4/a.gguf"), "q4/a.gguf", {"q4/a.gguf"}),
    ],
)
def test_needed_files(names: Sequence[str], gguf_file: str | None, needed: set[str]) -> None:
    assert set(needed_files(names, gguf_file, lambda _: ["part-2", "part-1"])) == needed


@pytest.mark.parametrize(
    ("names", "gguf_file", "told"),
    [
        (("tokenizer.json", "model.safetensors"), None, r"no config\.json"),
        (("config.json", "model.safetensors"), None, "no tokenizer"),
        ((*SMALL, "tf_model.h5"), None, "no weights that transformers reads"),
        (("a.gguf",), "b.gguf", r"no file b\.gguf \(model\.gguf_file\)"),
    ],
)
def test_repositories_that_lack_something(names: Sequence[str], gguf_file: str | None, told: str) -> None:
    with pytest.raises(UserError, match=told):
        needed_files(names, gguf_file, lambda _: [])
