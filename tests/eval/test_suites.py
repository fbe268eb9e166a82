"""The mean of the zero-shot suite: by hand, only when all seven are there, only without exemplars."""

import math
from pathlib import Path
from typing import Any

import pytest

from prune.cell.assembly import finished_result, planned_metrics
from prune.cell.folder import SCHEMA, CellFolder
from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig
from prune.eval.metric import Metric, PlannedMetric
from prune.eval.plan import plan_metrics
from prune.eval.suites import ZERO_SHOT, ZERO_SHOT_MEAN, mean_metrics, planned_means

SAMPLE = DataConfig(name=DataSource.sample)
VALUES = (0.75, 0.5, 0.25, 0.6, 0.4, 0.2, 0.3)
CHANCES = (0.5, 0.5, 0.25, 0.5, 0.25, 0.25, 0.25)


def planned(tasks: tuple[str, ...] = ZERO_SHOT, **changes: Any) -> list[PlannedMetric]:
    return plan_metrics(EvalConfig(name="q", lm_eval_tasks=list(tasks), **changes), SAMPLE)


def metric(value: float, chance: float, stderr: float | None = 0.02) -> dict[str, Any]:
    protocol = {"limit": 10, "lm_eval": "0.4.13", "data": {"source": "sample"}}
    return Metric(
        value=value, stderr=stderr, num_items=10, higher_is_better=True, chance=chance, protocol=protocol, unit="accuracy"
    ).to_dict()


def scores() -> dict[str, Any]:
    return {
        f"lm_eval/{task}/acc": metric(value, chance) for task, value, chance in zip(ZERO_SHOT, VALUES, CHANCES, strict=True)
    }


def test_the_mean_is_that_of_acc_over_the_seven() -> None:
    (name, mean), *others = mean_metrics(planned(), scores()).items()
    assert name == ZERO_SHOT_MEAN and not others
    assert mean["value"] == pytest.approx(3.0 / 7)
    assert mean["stderr"] == pytest.approx(0.02 * math.sqrt(7) / 7)
    assert mean["chance"] == pytest.approx(2.5 / 7)
    assert mean["num_items"] == 70 and mean["higher_is_better"]
    assert mean["protocol"]["tasks"] == list(ZERO_SHOT) and mean["protocol"]["limit"] == 10


def test_there_is_no_mean_of_fewer_or_with_exemplars() -> None:
    assert planned_means(planned()) == [ZERO_SHOT_MEAN]
    assert planned_means(planned(ZERO_SHOT[1:])) == []
    assert planned_means(planned(num_fewshot=1)) == []
    assert mean_metrics(planned(ZERO_SHOT[1:]), scores()) == {}
    assert mean_metrics(planned(), {name: one for name, one in scores().items() if "rte" not in name}) == {}


def test_an_unknown_error_is_not_made_up() -> None:
    some = scores() | {"lm_eval/rte/acc": metric(0.5, 0.5, stderr=None)}
    assert mean_metrics(planned(), some)[ZERO_SHOT_MEAN]["stderr"] is None


def test_the_mean_stands_in_the_result_once_the_last_score_is_kept(tmp_path: Path) -> None:
    asked, folder = planned(), CellFolder(tmp_path)
    for each, one in zip(asked[:-1], list(scores().values())[:-1], strict=True):
        folder.write_score(each, one, 1.0, {})
    assert ZERO_SHOT_MEAN not in planned_metrics(folder.read_scores(asked), asked)
    folder.write_score(asked[-1], metric(0.3, 0.25), 1.0, {})
    assert folder.missing_scores(asked) == []
    assert planned_metrics(folder.read_scores(asked), asked)[ZERO_SHOT_MEAN]["value"] == pytest.approx(3.0 / 7)
    empty = {"metrics": {}, "earlier": [], "overlap": {}, "warnings": []}
    folder.write_result({"schema": SCHEMA, "cell": "a", "dense_cell": "a", **empty})
    result = finished_result(folder, asked)
    assert result is not None and len(result["metrics"]) == 8
