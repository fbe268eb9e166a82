import json
import math

import pytest

from prune.eval.metric import ItemColumn, Metric, mean, mean_stderr


def test_a_metric_survives_result_json() -> None:
    metric = Metric(
        value=0.5,
        stderr=None,
        num_items=4,
        higher_is_better=True,
        chance=0.25,
        protocol={"split": "test"},
        unit="accuracy",
        items=ItemColumn(metric="acc/rte", keys=["correct"]),
    )
    assert Metric.from_dict(json.loads(json.dumps(metric.to_dict(), allow_nan=False))) == metric


def test_the_entry_has_the_keys_of_the_contract() -> None:
    metric = Metric(value=1.0, stderr=0.1, num_items=0, higher_is_better=False, chance=None, protocol={}, unit="TER")
    keys = ["value", "stderr", "num_items", "higher_is_better", "chance", "protocol", "unit", "scale", "decimals", "items"]
    assert list(metric.to_dict()) == keys
    assert (metric.to_dict()["scale"], metric.to_dict()["items"]) == ("linear", None)


@pytest.mark.parametrize(("num_right", "num_items"), [(0, 5), (3, 7), (5, 5)])
def test_stderr_of_a_share_is_that_of_lm_eval(num_right: int, num_items: int) -> None:
    values = [1.0] * num_right + [0.0] * (num_items - num_right)
    share = num_right / num_items
    assert mean(values) == share
    assert mean_stderr(values) == pytest.approx(math.sqrt(share * (1 - share) / (num_items - 1)))


def test_stderr_by_hand() -> None:
    assert mean_stderr([1.0, 2.0, 6.0]) == pytest.approx(math.sqrt((4 + 1 + 9) / 2 / 3))


def test_one_item_has_no_stderr() -> None:
    assert mean_stderr([1.0]) is None
