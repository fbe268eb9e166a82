"""result.json, made of the scores of a cell.

It shows one number per name, that of the protocol that was asked for last, and keeps those of other protocols under
`earlier`. Nothing is written here: `prune.cell.run` and `prune.cell.settle` write, under the claim.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from prune.cell.folder import CellFolder
from prune.cell.memory import higher_peak
from prune.config.config import Save
from prune.eval.metric import PlannedMetric
from prune.eval.overlap import Overlap
from prune.eval.questions.window import describe_skipped
from prune.eval.suites import mean_metrics

Result = Mapping[str, Any]
"""result.json."""

Score = Mapping[str, Any]
"""scores/*.json."""


def finished_result(folder: CellFolder, planned: Sequence[PlannedMetric], save: Save = Save.none) -> dict[str, Any] | None:
    """The result of a cell that has every planned score, and its weights as `save` asks; None of any other.

    It shows the planned scores, whatever result.json shows.
    """
    result = folder.find_result()
    scores = [] if result is None else folder.read_scores(planned)
    if result is None or len(scores) < len(planned):
        return None
    if result["cell"] != result["dense_cell"] and not folder.is_saved(save):
        return None
    return show_scores(result, planned_metrics(scores, planned), overlaps(scores))


def renewed_result(
    folder: CellFolder, planned: Sequence[PlannedMetric], facts: Result, warnings: Sequence[str]
) -> dict[str, Any]:
    """result.json after a run: the facts of this run, and the scores and warnings of it and of earlier ones.

    `facts` are all keys but `metrics`, `earlier`, `overlap`, `warnings` and `runs`.
    """
    former, scores = folder.find_result(), folder.read_scores(planned)
    metrics, sha256 = planned_metrics(scores, planned), facts["weights_sha256"]
    others = [score["name"] for score in scores if score["weights_sha256"] not in (None, sha256)]
    if former is None:
        result = gather(folder, {**facts, "warnings": [], "runs": []})
    else:
        peak = higher_peak(facts["peak_memory_mb"], former["peak_memory_mb"])
        result = {**former, **facts, "peak_memory_mb": peak, "runs": [*former["runs"], former["provenance"]]}
        if former["weights_sha256"] != sha256:
            others += [name for name in former["metrics"] if name not in metrics]
    own = _own_warnings(result)
    if others:
        own.append(
            f"Pruned again: the weights are not bit for bit those that {', '.join(dict.fromkeys(others))} were measured on."
        )
    result["warnings"] = list(dict.fromkeys([*own, *warnings]))
    return show_scores(json.loads(json.dumps(result)), metrics, overlaps(scores))


def gather(folder: CellFolder, facts: Result) -> dict[str, Any]:
    """A new result.json of a cell that has none: `facts` with all scores of the folder, the latest of each name shown."""
    result: dict[str, Any] = {"metrics": {}, "earlier": [], "overlap": {}, **facts}
    for score in folder.read_all_scores():
        result = show_scores(result, _metrics([score]), overlaps([score]))
    return result


def planned_metrics(scores: Sequence[Score], planned: Sequence[PlannedMetric]) -> dict[str, Any]:
    """The metrics of the scores by name, as result.json holds them, with the means that the planned scores give."""
    metrics = _metrics(scores)
    return metrics | mean_metrics(planned, metrics)


def _metrics(scores: Sequence[Score]) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for score in scores:
        metrics |= {score["name"]: score["metric"]} | score["beside"]
    return metrics


def overlaps(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """Metric -> what its items share with the calibration set, for the scores where that is known."""
    return {score["name"]: score["overlap"] for score in scores if score["overlap"]}


def show_scores(result: Result, metrics: Mapping[str, Any], overlaps: Mapping[str, Any]) -> dict[str, Any]:
    """`result` with these metrics under their names, with their overlaps and warnings; numbers of other protocols that stood
    there go to `earlier`, and the rest stays."""
    shown, overlap = dict(result["metrics"]), dict(result["overlap"])
    earlier = [entry for entry in result["earlier"] if _basis(entry["metric"]) != _basis(metrics.get(entry["name"]))]
    for name, metric in metrics.items():
        former = shown.get(name, metric)
        if _basis(former) != _basis(metric):
            earlier.append({"name": name, "metric": former, "overlap": overlap.pop(name, None)})
    shown |= metrics
    overlap |= overlaps
    warnings = [*_own_warnings(result), *metric_warnings(shown, overlap)]
    return {**result, "metrics": shown, "earlier": earlier, "overlap": overlap, "warnings": warnings}


def _basis(metric: Mapping[str, Any] | None) -> Any:
    """What a number was measured on; a protocol says how, and `num_items` how much of it."""
    return metric and (metric["protocol"], metric["num_items"])


def _own_warnings(result: Result) -> list[str]:
    """The warnings that are not about single metrics."""
    of_metrics = metric_warnings(result["metrics"], result["overlap"])
    return [warning for warning in result["warnings"] if warning not in of_metrics]


def metric_warnings(metrics: Mapping[str, Any], overlaps: Mapping[str, Any]) -> list[str]:
    """What a reader should know of single metrics: items that were left out, or that the calibration set has too."""
    known = {name: Overlap(**counts) for name, counts in overlaps.items()}
    shared = [f"{name}: {overlap.describe()}" for name, overlap in known.items() if overlap.has_shared_items]
    return [*describe_skipped(metrics), *shared]
