"""Scores are kept under name and protocol; a result is finished when every asked score is there."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prune.cell.assembly import finished_result, planned_metrics, renewed_result
from prune.cell.folder import CellFolder
from prune.config.config import Save
from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig, EvalProtocol
from prune.errors import UserError
from prune.eval.metric import PlannedMetric
from prune.eval.plan import plan_metrics
from prune.files import checksum, write_json

OVERLAP = {"num_items": 4, "num_shared_rows": 1, "num_shared_ngrams": 0, "num_short": 0}
OVERLAP |= {"num_exemplars": 0, "num_shared_exemplars": 0}


@pytest.fixture
def folder(tmp_path: Path) -> CellFolder:
    return CellFolder(tmp_path)


def planned(**settings: Any) -> list[PlannedMetric]:
    config = EvalConfig(**{"name": "test", "perplexity": ["c4"], "tasks": ["gsm8k"], "limit": 10} | settings)
    return plan_metrics(config, DataConfig(name=DataSource.sample))


def measured(metric: PlannedMetric, value: float) -> dict[str, Any]:
    """As it is measured: the protocol holds no limit, which the number of items tells."""
    asked = json.loads(json.dumps(metric.asked))
    limit = asked.pop("limit", None) or asked.pop("num_chunks", None) or 3
    return {"value": value, "num_items": limit, "protocol": asked}


def fill(folder: CellFolder, metrics: list[PlannedMetric], value: float, **more: Any) -> None:
    for metric in metrics:
        folder.write_score(metric, measured(metric, value), 1.5, {}, **more)


def facts(weights_sha256: str = "w1", **more: Any) -> dict[str, Any]:
    """What a run says of a cell, besides its scores."""
    peak = {"host": 5.0, "device": 0.0, "host_by": "VmHWM"}
    plain = {"schema": 2, "cell": "a", "dense_cell": "d", "weights_sha256": weights_sha256, "peak_memory_mb": peak}
    return plain | {"provenance": {"git": "one"}} | more


def finish(folder: CellFolder, metrics: list[PlannedMetric], warnings: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    result = renewed_result(folder, metrics, facts(**more), warnings)
    folder.write_result(result)
    return result


def test_scores_are_missing_until_written(folder: CellFolder) -> None:
    metrics = planned()
    assert folder.missing_scores(metrics) == metrics
    fill(folder, metrics[:1], 3.0)
    assert folder.missing_scores(metrics) == metrics[1:]
    assert planned_metrics(folder.read_scores(metrics), metrics) == {"ppl/c4": measured(metrics[0], 3.0)}


def test_what_was_measured_beside_a_score_is_a_metric_too(folder: CellFolder) -> None:
    (metric,) = planned(perplexity=[], tasks=["rte"], protocols=[EvalProtocol.acc_mc])
    folder.write_score(metric, {"value": 1.0}, 1.5, {"acc_mc_norm/rte": {"value": 2.0}})
    assert planned_metrics(folder.read_scores([metric]), [metric]) == {
        "acc_mc/rte": {"value": 1.0},
        "acc_mc_norm/rte": {"value": 2.0},
    }


def test_another_protocol_is_another_score_and_both_stay(folder: CellFolder) -> None:
    fill(folder, planned(), 1.0)
    assert [metric.name for metric in folder.missing_scores(planned(limit=20))] == ["acc/gsm8k"]
    assert folder.score(planned()[1]) != folder.score(planned(limit=20)[1])
    assert folder.missing_scores(planned(batch_size=64)) == []


def test_a_result_needs_every_asked_score(folder: CellFolder) -> None:
    metrics = planned()
    assert finished_result(folder, metrics) is None
    fill(folder, metrics, 1.0)
    assert finished_result(folder, metrics) is None, "the scores alone are no result"
    finish(folder, metrics)
    result = finished_result(folder, metrics)
    assert result is not None and set(result["metrics"]) == {"ppl/c4", "acc/gsm8k"}
    assert finished_result(folder, planned(tasks=["gsm8k", "svamp"])) is None


def test_a_question_shows_the_asked_protocol_keeps_the_others_and_writes_nothing(folder: CellFolder, tmp_path: Path) -> None:
    long, short = planned(limit=20), planned(limit=1)
    fill(folder, [*long, *planned(perplexity=[], tasks=["rte"])], 1.0)
    finish(folder, [*long, *planned(perplexity=[], tasks=["rte"])])
    fill(folder, short[1:], 2.0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = finished_result(folder, short)
    assert result is not None
    assert result["metrics"]["acc/gsm8k"] == measured(short[1], 2.0)
    assert result["metrics"]["acc/rte"]["value"] == 1.0
    assert result["earlier"] == [{"name": "acc/gsm8k", "metric": measured(long[1], 1.0), "overlap": None}]
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_numbers_of_several_protocols_are_never_lost_whatever_is_asked_when(folder: CellFolder) -> None:
    lines = {limit: planned(limit=limit) for limit in (10, 20, 30)}
    for limit in (10, 20, 30, 20, 10, 10):
        fill(folder, folder.missing_scores(lines[limit]), float(limit))
        result = finish(folder, lines[limit])
        assert result["metrics"]["acc/gsm8k"]["value"] == limit
        assert finished_result(folder, lines[limit]) == folder.read_result() == result
    assert sorted(entry["metric"]["value"] for entry in result["earlier"]) == [20.0, 30.0]
    assert "ppl/c4" not in {entry["name"] for entry in result["earlier"]}, "the limit is not part of its protocol"


def test_a_later_score_keeps_overlaps_warnings_and_circumstances_of_the_earlier_ones(folder: CellFolder) -> None:
    first, later = planned(tasks=[]), planned(perplexity=[])
    fill(folder, first, 1.0, overlap=OVERLAP)
    before = finish(folder, first, ("sample", "the code changed"), peak_memory_mb=peak(9.0, 1.0))
    assert any(warning.startswith("ppl/c4: 1 of 4 items") for warning in before["warnings"])
    fill(folder, later, 1.0)
    after = finish(folder, later, ("sample",), provenance={"git": "two"}, peak_memory_mb=peak(5.0, 2.0))
    assert after["warnings"] == before["warnings"] and after["overlap"] == {"ppl/c4": OVERLAP}
    assert after["runs"] == [{"git": "one"}] and after["provenance"] == {"git": "two"}
    assert after["peak_memory_mb"] == peak(9.0, 2.0)


def peak(host: float, device: float) -> dict[str, Any]:
    return {"host": host, "device": device, "host_by": "VmHWM"}


def test_warnings_of_a_number_go_with_it(folder: CellFolder) -> None:
    first, second = planned(tasks=[]), planned(tasks=[], num_chunks=1)
    fill(folder, first, 1.0, overlap=OVERLAP)
    finish(folder, first)
    fill(folder, second, 2.0)
    assert finish(folder, second)["warnings"] == []
    again = finish(folder, first)
    assert again["overlap"] == {"ppl/c4": OVERLAP} and len(again["warnings"]) == 1


def test_scores_of_weights_of_other_bits_are_told_even_after_a_kill(folder: CellFolder) -> None:
    """One process measures and is killed, the next prunes with other bits and is killed, the third finishes."""
    first, second = planned(tasks=[]), planned(perplexity=[])
    fill(folder, first, 1.0, weights_sha256="w1")
    fill(folder, second, 1.0, weights_sha256="w2")
    (warning,) = finish(folder, [*first, *second], weights_sha256="w2")["warnings"]
    assert "not bit for bit" in warning and "ppl/c4" in warning and "acc/gsm8k" not in warning


def test_a_result_that_is_lost_is_made_again_of_all_scores(folder: CellFolder) -> None:
    long, short = planned(limit=20), planned(limit=1)
    fill(folder, [*long, *short[1:], *planned(perplexity=[], tasks=["rte"])], 1.0)
    result = finish(folder, short)
    assert set(result["metrics"]) == {"ppl/c4", "acc/gsm8k", "acc/rte"}
    assert result["metrics"]["acc/gsm8k"] == measured(short[1], 1.0)
    assert [entry["metric"] for entry in result["earlier"]] == [measured(long[1], 1.0)]


def flip_value(path: Path) -> None:
    changed = json.loads(path.read_text())
    where = changed["metric"] if "metric" in changed else next(iter(changed.get("metrics", {"": changed}).values()))
    where["value"] = 99.0
    path.write_text(json.dumps(changed))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


HARMS: dict[str, Callable[[Path], object]] = {
    "a changed value": flip_value,
    "no checksum": lambda path: write_json(path, {k: v for k, v in json.loads(path.read_text()).items() if k != "sha256"}),
    "cut": cut,
    "empty": lambda path: path.write_text(""),
    "an object": lambda path: path.write_text("{}"),
    "a list": lambda path: path.write_text("[]"),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "deep": lambda path: path.write_text("[" * 100_000),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_damaged_score_is_missing_and_named(folder: CellFolder, harm: Callable[[Path], object]) -> None:
    metrics = planned()
    fill(folder, metrics, 1.0)
    finish(folder, metrics)
    harm(folder.score(metrics[1]))
    assert folder.missing_scores(metrics) == metrics[1:]
    assert finished_result(folder, metrics) is None
    (damage,) = folder.find_damage(metrics)
    assert folder.score(metrics[1]).name in damage and "acc/gsm8k is measured again" in damage
    assert finished_result(folder, metrics[:1]) is not None, "it does not matter to a line that does not ask for it"
    fill(folder, metrics[1:], 1.0)
    result = finish(folder, metrics, (damage,))
    assert result["metrics"]["acc/gsm8k"]["value"] == 1.0 and damage in result["warnings"]


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_damaged_result_is_refused_by_name_and_made_again(
    folder: CellFolder, tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    metrics = planned()
    fill(folder, metrics, 1.0)
    whole = finish(folder, metrics)
    harm(tmp_path / "result.json")
    with pytest.raises(UserError, match=r"result\.json is damaged .* run the same line again"):
        folder.read_result()
    assert finished_result(folder, metrics) is None
    assert folder.find_damage(metrics)[0].startswith("result.json was damaged")
    assert finish(folder, metrics) == whole


def test_a_result_of_an_earlier_version_is_not_taken_for_one(folder: CellFolder) -> None:
    metrics = planned()
    fill(folder, metrics, 1.0)
    folder.write_result(finish(folder, metrics) | {"schema": 1})
    assert finished_result(folder, metrics) is None and "schema 1" in folder.find_damage(metrics)[0]


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_damaged_record_of_the_pruning_is_not_used(
    folder: CellFolder, tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    (tmp_path / "blocks.jsonl").write_text('{"block": 0}\n')
    folder.write_pruned("w1", ["mask"], {"calib": 1.0, "prune": 2.0})
    assert folder.read_pruned() is not None and folder.find_damage([]) == []
    harm(tmp_path / "pruned.json")
    assert folder.read_pruned() is None
    (damage,) = folder.find_damage([])
    assert "pruned.json" in damage and "pruned again" in damage


def test_the_record_of_a_pruning_is_of_its_blocks(folder: CellFolder, tmp_path: Path) -> None:
    (tmp_path / "blocks.jsonl").write_text('{"block": 0}\n')
    folder.write_pruned("w1", [], {"calib": 1.0, "prune": 2.0})
    (tmp_path / "blocks.jsonl").write_text('{"block": 1}\n')
    assert folder.read_pruned() is None and "blocks.jsonl does not fit" in folder.find_damage([])[0]
    with pytest.raises(UserError, match=r"blocks\.jsonl is damaged \(it does not fit pruned\.json\)"):
        folder.read_linears()


def test_a_cell_is_finished_when_its_weights_are_kept_as_asked(folder: CellFolder, tmp_path: Path) -> None:
    metrics = planned()
    fill(folder, metrics, 1.0)
    finish(folder, metrics)
    folder.write_pruned("w1", [], {"calib": 1.0, "prune": 2.0})
    assert finished_result(folder, metrics) and finished_result(folder, metrics, Save.mask) is None
    (tmp_path / "mask.safetensors").touch()
    assert finished_result(folder, metrics, Save.mask) is None, "of a process that was killed before it said so"
    folder.write_pruned("w1", ["mask"], {"calib": 1.0, "prune": 2.0})
    assert finished_result(folder, metrics, Save.mask) and finished_result(folder, metrics, Save.model) is None
    finish(folder, metrics, dense_cell="a")
    assert finished_result(folder, metrics, Save.model), "the dense model is not saved"


def test_items_follow_the_score_that_is_shown(folder: CellFolder, tmp_path: Path) -> None:
    long, short = planned(limit=20)[1:], planned(limit=1)[1:]
    for metrics, text in ((long, b"long"), (short, b"short"), (long, None)):
        if text is not None:
            folder.items(metrics[0]).parent.mkdir(exist_ok=True)
            folder.items(metrics[0]).write_bytes(gzip.compress(text))
        folder.show_items(metrics)
    assert gzip.decompress((tmp_path / "items/acc-gsm8k.jsonl.gz").read_bytes()) == b"long"
    assert len(list((tmp_path / "items").iterdir())) == 3


def test_a_checksum_is_that_of_sorted_compact_json_without_itself() -> None:
    assert checksum({"b": [1, 2.5], "a": "é", "sha256": "x"}) == checksum({"a": "é", "b": [1, 2.5]})
    assert checksum({"b": [1, 2.5], "a": "é"}) == "1d5aa48ef9cd2b6be14efd77e6aa32fc7767713b66a7abf3c772a7863e7c199a"


def test_linears_of_a_dense_cell(folder: CellFolder, tmp_path: Path) -> None:
    assert folder.read_linears() == []
    (tmp_path / "blocks.jsonl").write_text('{"block": 0}\n{"block": 1}\n')
    assert folder.read_linears() == [{"block": 0}, {"block": 1}]
    for harm in ('{"block": 0}\n{"bl', '{"block": 0}\n[]', '{"block": 0}\nnull'):
        (tmp_path / "blocks.jsonl").write_text(harm)
        with pytest.raises(UserError, match=r"blocks\.jsonl is damaged"):
            folder.read_linears()
