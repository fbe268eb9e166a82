"""Scores are kept under name and protocol; a result is finished when every asked score is there."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prune.cell.results import (
    find_damage,
    finished_result,
    items_path,
    missing_scores,
    read_linears,
    read_pruned,
    read_result,
    read_scores,
    renewed_result,
    score_path,
    show_items,
    write_pruned,
    write_result,
    write_score,
)
from prune.config.config import Save
from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig, EvalProtocol
from prune.errors import UserError
from prune.eval.metric import PlannedMetric
from prune.eval.plan import plan_metrics
from prune.files import checksum, write_json

OVERLAP = {"num_items": 4, "num_shared_rows": 1, "num_shared_ngrams": 0, "num_short": 0}
OVERLAP |= {"num_exemplars": 0, "num_shared_exemplars": 0}


def planned(**settings: Any) -> list[PlannedMetric]:
    config = EvalConfig(**{"name": "test", "perplexity": ["c4"], "tasks": ["gsm8k"], "limit": 10} | settings)
    return plan_metrics(config, DataConfig(name=DataSource.sample))


def measured(metric: PlannedMetric, value: float) -> dict[str, Any]:
    """As it is measured: the protocol holds no limit, which the number of items tells."""
    asked = json.loads(json.dumps(metric.asked))
    limit = asked.pop("limit", None) or asked.pop("num_chunks", None) or 3
    return {"value": value, "num_items": limit, "protocol": asked}


def fill(folder: Path, metrics: list[PlannedMetric], value: float, **more: Any) -> None:
    for metric in metrics:
        write_score(folder, metric, measured(metric, value), 1.5, {}, **more)


def facts(weights_sha256: str = "w1", **more: Any) -> dict[str, Any]:
    """What a run says of a cell, besides its scores."""
    peak = {"host": 5.0, "device": 0.0, "host_by": "VmHWM"}
    plain = {"schema": 2, "cell": "a", "dense_cell": "d", "weights_sha256": weights_sha256, "peak_memory_mb": peak}
    return plain | {"provenance": {"git": "one"}} | more


def finish(folder: Path, metrics: list[PlannedMetric], warnings: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    result = renewed_result(folder, metrics, facts(**more), warnings)
    write_result(folder, result)
    return result


def test_scores_are_missing_until_written(tmp_path: Path) -> None:
    metrics = planned()
    assert missing_scores(tmp_path, metrics) == metrics
    fill(tmp_path, metrics[:1], 3.0)
    assert missing_scores(tmp_path, metrics) == metrics[1:]
    assert read_scores(tmp_path, metrics) == ({"ppl/c4": measured(metrics[0], 3.0)}, 1.5)


def test_what_was_measured_beside_a_score_is_a_metric_too(tmp_path: Path) -> None:
    (metric,) = planned(perplexity=[], tasks=["rte"], protocols=[EvalProtocol.acc_mc])
    write_score(tmp_path, metric, {"value": 1.0}, 1.5, {"acc_mc_norm/rte": {"value": 2.0}})
    assert read_scores(tmp_path, [metric])[0] == {"acc_mc/rte": {"value": 1.0}, "acc_mc_norm/rte": {"value": 2.0}}


def test_another_protocol_is_another_score_and_both_stay(tmp_path: Path) -> None:
    fill(tmp_path, planned(), 1.0)
    assert [metric.name for metric in missing_scores(tmp_path, planned(limit=20))] == ["acc/gsm8k"]
    assert score_path(tmp_path, planned()[1]) != score_path(tmp_path, planned(limit=20)[1])
    assert missing_scores(tmp_path, planned(batch_size=64)) == []


def test_a_result_needs_every_asked_score(tmp_path: Path) -> None:
    metrics = planned()
    assert finished_result(tmp_path, metrics) is None
    fill(tmp_path, metrics, 1.0)
    assert finished_result(tmp_path, metrics) is None, "the scores alone are no result"
    finish(tmp_path, metrics)
    result = finished_result(tmp_path, metrics)
    assert result is not None and set(result["metrics"]) == {"ppl/c4", "acc/gsm8k"}
    assert finished_result(tmp_path, planned(tasks=["gsm8k", "svamp"])) is None


def test_a_question_shows_the_asked_protocol_keeps_the_others_and_writes_nothing(tmp_path: Path) -> None:
    long, short = planned(limit=20), planned(limit=1)
    fill(tmp_path, [*long, *planned(perplexity=[], tasks=["rte"])], 1.0)
    finish(tmp_path, [*long, *planned(perplexity=[], tasks=["rte"])])
    fill(tmp_path, short[1:], 2.0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = finished_result(tmp_path, short)
    assert result is not None
    assert result["metrics"]["acc/gsm8k"] == measured(short[1], 2.0)
    assert result["metrics"]["acc/rte"]["value"] == 1.0
    assert result["earlier"] == [{"name": "acc/gsm8k", "metric": measured(long[1], 1.0), "overlap": None}]
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_numbers_of_several_protocols_are_never_lost_whatever_is_asked_when(tmp_path: Path) -> None:
    lines = {limit: planned(limit=limit) for limit in (10, 20, 30)}
    for limit in (10, 20, 30, 20, 10, 10):
        fill(tmp_path, missing_scores(tmp_path, lines[limit]), float(limit))
        result = finish(tmp_path, lines[limit])
        assert result["metrics"]["acc/gsm8k"]["value"] == limit
        assert finished_result(tmp_path, lines[limit]) == read_result(tmp_path) == result
    assert sorted(entry["metric"]["value"] for entry in result["earlier"]) == [20.0, 30.0]
    assert "ppl/c4" not in {entry["name"] for entry in result["earlier"]}, "the limit is not part of its protocol"


def test_a_later_score_keeps_overlaps_warnings_and_circumstances_of_the_earlier_ones(tmp_path: Path) -> None:
    first, later = planned(tasks=[]), planned(perplexity=[])
    fill(tmp_path, first, 1.0, overlap=OVERLAP)
    before = finish(tmp_path, first, ("sample", "the code changed"), peak_memory_mb=peak(9.0, 1.0))
    assert any(warning.startswith("ppl/c4: 1 of 4 items") for warning in before["warnings"])
    fill(tmp_path, later, 1.0)
    after = finish(tmp_path, later, ("sample",), provenance={"git": "two"}, peak_memory_mb=peak(5.0, 2.0))
    assert after["warnings"] == before["warnings"] and after["overlap"] == {"ppl/c4": OVERLAP}
    assert after["runs"] == [{"git": "one"}] and after["provenance"] == {"git": "two"}
    assert after["peak_memory_mb"] == peak(9.0, 2.0)


def peak(host: float, device: float) -> dict[str, Any]:
    return {"host": host, "device": device, "host_by": "VmHWM"}


def test_warnings_of_a_number_go_with_it(tmp_path: Path) -> None:
    first, second = planned(tasks=[]), planned(tasks=[], num_chunks=1)
    fill(tmp_path, first, 1.0, overlap=OVERLAP)
    finish(tmp_path, first)
    fill(tmp_path, second, 2.0)
    assert finish(tmp_path, second)["warnings"] == []
    again = finish(tmp_path, first)
    assert again["overlap"] == {"ppl/c4": OVERLAP} and len(again["warnings"]) == 1


def test_scores_of_weights_of_other_bits_are_told_even_after_a_kill(tmp_path: Path) -> None:
    """One process measures and is killed, the next prunes with other bits and is killed, the third finishes."""
    first, second = planned(tasks=[]), planned(perplexity=[])
    fill(tmp_path, first, 1.0, weights_sha256="w1")
    fill(tmp_path, second, 1.0, weights_sha256="w2")
    (warning,) = finish(tmp_path, [*first, *second], weights_sha256="w2")["warnings"]
    assert "other bits" in warning and "ppl/c4" in warning and "acc/gsm8k" not in warning


def test_a_result_that_is_lost_is_made_again_of_all_scores(tmp_path: Path) -> None:
    long, short = planned(limit=20), planned(limit=1)
    fill(tmp_path, [*long, *short[1:], *planned(perplexity=[], tasks=["rte"])], 1.0)
    result = finish(tmp_path, short)
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
def test_a_damaged_score_is_missing_and_named(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    metrics = planned()
    fill(tmp_path, metrics, 1.0)
    finish(tmp_path, metrics)
    harm(score_path(tmp_path, metrics[1]))
    assert missing_scores(tmp_path, metrics) == metrics[1:]
    assert finished_result(tmp_path, metrics) is None
    (damage,) = find_damage(tmp_path, metrics)
    assert score_path(tmp_path, metrics[1]).name in damage and "acc/gsm8k is measured again" in damage
    assert finished_result(tmp_path, metrics[:1]) is not None, "it does not matter to a line that does not ask for it"
    fill(tmp_path, metrics[1:], 1.0)
    result = finish(tmp_path, metrics, (damage,))
    assert result["metrics"]["acc/gsm8k"]["value"] == 1.0 and damage in result["warnings"]


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_damaged_result_is_refused_by_name_and_made_again(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    metrics = planned()
    fill(tmp_path, metrics, 1.0)
    whole = finish(tmp_path, metrics)
    harm(tmp_path / "result.json")
    with pytest.raises(UserError, match=r"result\.json is damaged .* run the same line again"):
        read_result(tmp_path)
    assert finished_result(tmp_path, metrics) is None
    assert find_damage(tmp_path, metrics)[0].startswith("result.json was damaged")
    assert finish(tmp_path, metrics) == whole


def test_a_result_of_an_earlier_version_is_not_taken_for_one(tmp_path: Path) -> None:
    metrics = planned()
    fill(tmp_path, metrics, 1.0)
    write_result(tmp_path, finish(tmp_path, metrics) | {"schema": 1})
    assert finished_result(tmp_path, metrics) is None and "schema 1" in find_damage(tmp_path, metrics)[0]


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_damaged_record_of_the_pruning_is_not_used(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    (tmp_path / "blocks.jsonl").write_text('{"block": 0}\n')
    write_pruned(tmp_path, "w1", ["mask"], {"calib": 1.0, "prune": 2.0})
    assert read_pruned(tmp_path) is not None and find_damage(tmp_path, []) == []
    harm(tmp_path / "pruned.json")
    assert read_pruned(tmp_path) is None
    (damage,) = find_damage(tmp_path, [])
    assert "pruned.json" in damage and "pruned again" in damage


def test_the_record_of_a_pruning_is_of_its_blocks(tmp_path: Path) -> None:
    (tmp_path / "blocks.jsonl").write_text('{"block": 0}\n')
    write_pruned(tmp_path, "w1", [], {"calib": 1.0, "prune": 2.0})
    (tmp_path / "blocks.jsonl").write_text('{"block": 1}\n')
    assert read_pruned(tmp_path) is None and "blocks.jsonl does not fit" in find_damage(tmp_path, [])[0]


def test_a_cell_is_finished_when_its_weights_are_kept_as_asked(tmp_path: Path) -> None:
    metrics = planned()
    fill(tmp_path, metrics, 1.0)
    finish(tmp_path, metrics)
    write_pruned(tmp_path, "w1", [], {"calib": 1.0, "prune": 2.0})
    assert finished_result(tmp_path, metrics) and finished_result(tmp_path, metrics, Save.mask) is None
    (tmp_path / "mask.safetensors").touch()
    assert finished_result(tmp_path, metrics, Save.mask) is None, "of a process that was killed before it said so"
    write_pruned(tmp_path, "w1", ["mask"], {"calib": 1.0, "prune": 2.0})
    assert finished_result(tmp_path, metrics, Save.mask) and finished_result(tmp_path, metrics, Save.model) is None
    finish(tmp_path, metrics, dense_cell="a")
    assert finished_result(tmp_path, metrics, Save.model), "the dense model is not saved"


def test_items_follow_the_score_that_is_shown(tmp_path: Path) -> None:
    long, short = planned(limit=20)[1:], planned(limit=1)[1:]
    for metrics, text in ((long, b"long"), (short, b"short"), (long, None)):
        if text is not None:
            items_path(tmp_path, metrics[0]).parent.mkdir(exist_ok=True)
            items_path(tmp_path, metrics[0]).write_bytes(gzip.compress(text))
        show_items(tmp_path, metrics)
    assert gzip.decompress((tmp_path / "items/acc-gsm8k.jsonl.gz").read_bytes()) == b"long"
    assert len(list((tmp_path / "items").iterdir())) == 3


def test_a_checksum_is_that_of_sorted_compact_json_without_itself() -> None:
    assert checksum({"b": [1, 2.5], "a": "é", "sha256": "x"}) == checksum({"a": "é", "b": [1, 2.5]})
    assert checksum({"b": [1, 2.5], "a": "é"}) == "1d5aa48ef9cd2b6be14efd77e6aa32fc7767713b66a7abf3c772a7863e7c199a"


def test_linears_of_a_dense_cell(tmp_path: Path) -> None:
    assert read_linears(tmp_path) == []
    (tmp_path / "blocks.jsonl").write_text('{"block": 0}\n{"block": 1}\n')
    assert read_linears(tmp_path) == [{"block": 0}, {"block": 1}]
    (tmp_path / "blocks.jsonl").write_text('{"block": 0}\n{"bl')
    with pytest.raises(UserError, match=r"blocks\.jsonl is damaged"):
        read_linears(tmp_path)
