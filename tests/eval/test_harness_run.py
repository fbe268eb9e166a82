"""lm-eval's tasks in a cell: planned, measured, kept, added later without measuring the others again."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from prune.cell.cell import make_cell
from prune.cell.resources import Resources
from prune.sweep.launchers.prepare import list_things
from tests.conftest import Compose, Said

LINE = (
    *("calib=boolq", "calib.num_samples=4", "calib.seq_len=128", "tracker=none"),
    *("eval.perplexity=[]", "eval.tasks=[]", "eval.limit=5", "eval.batch_size=4"),
)


def results(folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob("outputs/cells/*/result.json"))]


def test_a_task_that_is_added_later_is_all_that_is_measured(say: Callable[..., Said], tmp_path: Path) -> None:
    assert say(*LINE, "eval.lm_eval_tasks=[boolq]").code == 0
    (cell,) = [path for path in results(tmp_path) if (path / "blocks.jsonl").exists()]
    (before,) = cell.glob("scores/lm_eval-boolq-acc-*.json")
    written = before.stat().st_mtime_ns
    said = say(*LINE, "eval.lm_eval_tasks=[boolq,openbookqa]")
    assert said.code == 0 and before.stat().st_mtime_ns == written
    result = json.loads((cell / "result.json").read_text())
    assert {"lm_eval/boolq/acc", "lm_eval/openbookqa/acc", "lm_eval/openbookqa/acc_norm"} == set(result["metrics"])
    items = gzip.decompress((cell / "items" / "lm_eval-boolq-acc.jsonl.gz").read_bytes()).decode().splitlines()
    assert [json.loads(item)["id"] for item in items] == [0, 1, 2, 3, 4]
    assert "openbookqa" in said.out


def test_what_its_items_share_with_the_calibration_set_is_counted(say: Callable[..., Said], tmp_path: Path) -> None:
    rows = [
        {
            "question": f"is bridge {n} open",
            "passage": f"The bridge number {n} was built by many people long ago in a town "
            f"of the north and it is still open on {n} days of each year.",
            "answer": n % 2 == 0,
        }
        for n in range(40)
    ]
    folder = tmp_path / "rows" / "boolq"
    folder.mkdir(parents=True)
    for split in ("train", "validation"):  # an evaluation on what the pruner saw
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert (
        say(*LINE, "data=local", f"data.root={tmp_path / 'rows'}", "eval.lm_eval_tasks=[boolq]", "eval.limit=40").code == 0
    )
    (cell,) = [path for path in results(tmp_path) if (path / "blocks.jsonl").exists()]
    result = json.loads((cell / "result.json").read_text())
    overlap = result["overlap"]["lm_eval/boolq/acc"]
    (manifest,) = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/calib/*/manifest.json")]
    seen = {row for sequence in manifest["sequences"] for row in sequence["rows"]}
    assert overlap["num_items"] == 40
    assert overlap["num_shared_rows"] == len(seen) > 0
    assert overlap["num_shared_ngrams"] > 0
    assert any("lm_eval/boolq/acc" in warning for warning in result["warnings"])


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("boolqq", "Did you mean boolq"),
        ("piqa", "data=sample has no rows of baber/piqa"),
    ],
)
def test_a_task_that_cannot_be_measured_stops_before_anything_runs(
    say: Callable[..., Said], tmp_path: Path, task: str, told: str
) -> None:
    said = say(*LINE, f"eval.lm_eval_tasks=[{task}]")
    assert said.code != 0 and told in said.err + said.out
    assert not (tmp_path / "outputs" / "cells").exists()


def test_rows_that_are_missing_stop_before_anything_runs(say: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "rows" / "boolq").mkdir(parents=True)
    row = json.dumps({"question": "q", "passage": "p", "answer": True}) + "\n"
    (tmp_path / "rows" / "boolq" / "train.jsonl").write_text(row * 40)
    said = say(*LINE, "data=local", f"data.root={tmp_path / 'rows'}", "eval.lm_eval_tasks=[piqa]")
    assert said.code != 0 and "rows/piqa does not exist" in said.err + said.out
    assert not list(tmp_path.glob("outputs/cells/*/result.json"))


def test_rows_that_lm_eval_loads_itself_are_prepared(
    compose_config: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))  # other tests fetch beside this one
    splits = {
        "validation": datasets.Dataset.from_list([{"goal": "g"}] * 3),
        "train": datasets.Dataset.from_list([{"goal": "g"}]),
    }
    monkeypatch.setattr(datasets, "load_dataset", lambda **_: datasets.DatasetDict(splits))
    monkeypatch.setattr("prune.data.sources.hub.fetch_commit", lambda *_: "0" * 40)
    config = compose_config(
        "data=hub", "method=magnitude", "eval.perplexity=[c4]", "eval.tasks=[]", "eval.lm_eval_tasks=[piqa]"
    )
    things = {thing.name: thing for thing in list_things([make_cell(config)], Resources())}
    assert [name for name in things if name.startswith("rows")] == [
        "rows c4/validation (data=hub)",
        "rows lm_eval/piqa (data=hub)",
    ]
    assert things["rows lm_eval/piqa (data=hub)"].get() == "there, 3 rows"
