"""The speeds of a report's models, apart from their scores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from prune.cell.result import CellResult
from prune.eval.metric import NEUTRAL, SPEED, Metric
from prune.report.model import CellSpeed

KINDS = ("decode", "prefill")
SPARSE = "_2to4"
"""End of the names of speeds by semi-structured kernels."""


def split_speeds(results: Sequence[CellResult]) -> tuple[list[CellResult], list[CellSpeed]]:
    """(the results without their speeds, the speeds in the order of the results)."""
    by_id = {result.id: result for result in results}
    speeds = [_speed(result, by_id.get(result.dense_cell)) for result in results if _of(result)]
    return [_without(result) for result in results], speeds


def _of(result: CellResult) -> dict[str, Metric]:
    """`decode` -> the speed."""
    start = f"{SPEED}/"
    return {name.removeprefix(start): metric for name, metric in result.scores.items() if name.startswith(start)}


def _without(result: CellResult) -> CellResult:
    scores = {name: metric for name, metric in result.scores.items() if not name.startswith(f"{SPEED}/")}
    return result if len(scores) == len(result.scores) else replace(result, scores=scores)


def _speed(result: CellResult, dense: CellResult | None) -> CellSpeed:
    own, others = _of(result), {} if dense is None or dense is result else _of(dense)
    names = [kind + end for end in ("", SPARSE) for kind in KINDS]
    protocol: Mapping[str, Any] = next(iter(own.values())).protocol
    return CellSpeed(
        id=result.id,
        name=result.name,
        device=_place(protocol),
        lengths=f"{protocol.get('batch')} x {protocol.get('prompt_tokens')} + {protocol.get('new_tokens')}",
        speeds={name: own[name].value for name in names if name in own},
        to_dense={name: ratio for name in names if (ratio := _ratio(own.get(name), others.get(_plain(name)))) is not None},
        note=str(protocol.get("semi_structured", "")),
    )


def _plain(name: str) -> str:
    return name.removesuffix(SPARSE)


def _place(protocol: Mapping[str, Any]) -> str:
    number = protocol.get("threads")
    threads = f", {number} thread{'s' * (number != 1)}" if number else ""
    shared = "" if protocol.get("alone") else ", shared with other work"
    return f"{protocol.get('device_name')}, {protocol.get('weights')}{threads}{shared}"


def _ratio(own: Metric | None, dense: Metric | None) -> float | None:
    """Ratio to the dense model's speed; None unless both were timed in one way in one place, alone there."""
    if own is None or dense is None or not own.protocol.get("alone") or _basis(own) != _basis(dense):
        return None
    return own.value / dense.value


def _basis(metric: Metric) -> dict[str, Any]:
    return {key: value for key, value in metric.protocol.items() if key not in NEUTRAL and key != "kernels"}
