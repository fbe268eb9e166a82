"""Scores are kept under name and protocol; a result is finished when every asked score is there."""

import json
from pathlib import Path
from typing import Any

from prune.cell.results import finished_result, missing_scores, read_linears, read_scores, score_path, write_score
from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig, EvalProtocol
from prune.eval.metric import PlannedMetric
from prune.eval.plan import plan_metrics
from prune.files import write_json


def planned(**settings: Any) -> list[PlannedMetric]:
    config = EvalConfig(**{"name": "test", "perplexity": ["c4"], "tasks": ["gsm8k"], "limit": 10} | settings)
    return plan_metrics(config, DataConfig(name=DataSource.sample))


def fill(folder: Path, metrics: list[PlannedMetric], value: float) -> None:
    for metric in metrics:
        write_score(folder, metric, {"value": value}, 1.5, {})


def test_scores_are_missing_until_written(tmp_path: Path) -> None:
    metrics = planned()
    assert missing_scores(tmp_path, metrics) == metrics
    fill(tmp_path, metrics[:1], 3.0)
    assert missing_scores(tmp_path, metrics) == metrics[1:]
    assert read_scores(tmp_path, metrics) == ({"ppl/c4": {"value": 3.0}}, 1.5)


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
    write_json(tmp_path / "result.json", {"schema": 1, "metrics": read_scores(tmp_path, metrics)[0]})
    result = finished_result(tmp_path, metrics)
    assert result is not None and set(result["metrics"]) == {"ppl/c4", "acc/gsm8k"}
    assert finished_result(tmp_path, planned(tasks=["gsm8k", "svamp"])) is None


def test_the_result_follows_the_asked_protocol_and_keeps_other_metrics(tmp_path: Path) -> None:
    first, second = planned(), planned(limit=20)
    fill(tmp_path, first, 1.0)
    fill(tmp_path, second, 2.0)
    write_json(tmp_path / "result.json", {"schema": 1, "metrics": {"acc/gsm8k": {"value": 2.0}, "acc/rte": {"value": 9.0}}})
    result = finished_result(tmp_path, first)
    assert result is not None
    assert result["metrics"]["acc/gsm8k"]["value"] == 1.0
    assert result["metrics"]["acc/rte"] == {"value": 9.0}
    assert json.loads((tmp_path / "result.json").read_text()) == result


def test_linears_of_a_dense_cell(tmp_path: Path) -> None:
    assert read_linears(tmp_path) == []
    (tmp_path / "blocks.jsonl").write_text('{"block": 0}\n{"block": 1}\n')
    assert read_linears(tmp_path) == [{"block": 0}, {"block": 1}]
