"""Means over the tasks of a suite, made of scores that are kept one by one.

Source: the zero-shot suite of the Wanda and SparseGPT papers is the unweighted mean of `acc` (not `acc_norm`) over seven
tasks of lm-eval without exemplars.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from prune.eval.metric import ACCURACY, Metric, PlannedMetric, mean

ZERO_SHOT = ("boolq", "rte", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa")
ZERO_SHOT_MEAN = "lm_eval/zero_shot/acc"

_PARTS = tuple(f"lm_eval/{task}/acc" for task in ZERO_SHOT)


def planned_means(planned: Sequence[PlannedMetric]) -> list[str]:
    """The means that the planned scores give: of the zero-shot suite when all seven are planned, without exemplars."""
    zero_shot = {each.name for each in planned if getattr(each.settings, "num_fewshot", None) == 0}
    return [ZERO_SHOT_MEAN] if zero_shot.issuperset(_PARTS) else []


def mean_metrics(planned: Sequence[PlannedMetric], metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The means by name, as in result.json, for those whose scores are all there.

    The standard error is that of a mean of independent scores, sqrt(sum of squares) / 7.
    """
    if not planned_means(planned) or not all(name in metrics for name in _PARTS):
        return {}
    parts = [Metric.from_dict(metrics[name]) for name in _PARTS]
    errors = [part.stderr for part in parts if part.stderr is not None]
    chances = [part.chance for part in parts if part.chance is not None]
    protocol = {
        "kind": "unweighted mean of acc",
        "tasks": list(ZERO_SHOT),
        "num_fewshot": 0,
        "limit": parts[0].protocol["limit"],
        "lm_eval": parts[0].protocol["lm_eval"],
        "data": parts[0].protocol["data"],
    }
    whole = Metric(
        value=mean([part.value for part in parts]),
        stderr=math.hypot(*errors) / len(parts) if len(errors) == len(parts) else None,
        num_items=sum(part.num_items for part in parts),
        higher_is_better=True,
        chance=mean(chances) if len(chances) == len(parts) else None,
        protocol=protocol,
        unit=ACCURACY,
    )
    return {ZERO_SHOT_MEAN: whole.to_dict()}
