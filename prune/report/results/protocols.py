"""Whether the scores of one metric are comparable: all cells of one model must have measured it in one way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prune.cell.result import CellResult
from prune.errors import UserError
from prune.eval.metric import NEUTRAL, Metric


@dataclass(slots=True)
class _Way:
    """One way of measuring, and the cells measured so."""

    asked: dict[str, Any]
    cells: list[str]
    first: Metric
    """A score measured so."""

    def is_of(self, score: Metric) -> bool:
        """Whether a score was measured so. Most agree in the neutral keys too, which spares a copy."""
        alike = score.protocol == self.first.protocol and score.num_items == self.first.num_items
        return _measure(score) == _measure(self.first) and (alike or _asked(score) == self.asked)


Ways = dict[tuple[str, str], list[_Way]]
"""(dense cell, metric) -> its ways of measuring."""


def check_protocols(results: Sequence[CellResult], sweeps: Sequence[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """(dense cell, metric) -> its one protocol with its number of items, without the neutral keys.

    Raises:
        UserError: cells of one model measured a metric in two ways, or those of two models in two units; the message names
            the keys that differ and the cells.
    """
    ways = _ways(results)
    problems = [_describe(metric, several) for (_, metric), several in ways.items() if len(several) > 1]
    problems += _describe_measures(ways)
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:8])
        more = f"\n  and {len(problems) - 8} more metrics" if len(problems) > 8 else ""
        raise UserError(
            f"These results cannot be compared: a metric was measured in several ways.{shown}{more}\n{_advice(sweeps)}"
        )
    return {key: several[0].asked for key, several in ways.items()}


def _describe_measures(ways: Ways) -> list[str]:
    """The metrics whose unit, scale or direction differs between models."""
    of_metric: dict[str, list[_Way]] = {}
    for (_, metric), several in ways.items():
        of_metric.setdefault(metric, []).append(several[0])
    return [
        _describe(metric, several)
        for metric, several in of_metric.items()
        if any(_measure(way.first) != _measure(several[0].first) for way in several)
    ]


def _ways(results: Sequence[CellResult]) -> Ways:
    ways: Ways = {}
    for result in results:
        for metric, score in result.scores.items():
            several = ways.setdefault((result.dense_cell, metric), [])
            way = next((way for way in several if way.is_of(score)), None)
            if way is None:
                several.append(_Way(_asked(score), [result.name], score))
            else:
                way.cells.append(result.name)
    return ways


def _asked(score: Metric) -> dict[str, Any]:
    asked = {key: value for key, value in score.protocol.items() if key not in NEUTRAL}
    return asked | {"num_items": score.num_items}


def _measure(score: Metric) -> dict[str, Any]:
    return {"unit": score.unit, "scale": score.scale, "higher_is_better": score.higher_is_better}


def _describe(metric: str, ways: Sequence[_Way]) -> str:
    """`acc/gsm8k: num_items is 100 in tiny/dense and 3 more, 200 in tiny/c4/wanda/50%/s0`."""
    told = [way.asked | _measure(way.first) for way in ways]
    keys = sorted({key for asked in told for key in asked if any(asked.get(key) != other.get(key) for other in told)})
    parts = [f"{_values(asked, keys)} in {_some(way.cells)}" for asked, way in zip(told, ways, strict=True)]
    return f"{metric}: {'; '.join(parts)}"


def _values(asked: Mapping[str, Any], keys: Sequence[str]) -> str:
    return " ".join(f"{key}={asked.get(key)}" for key in keys)


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _advice(sweeps: Sequence[str]) -> str:
    if len(sweeps) > 1:
        named = " or ".join(f"--sweep {sweep}" for sweep in sweeps[:5])
        return f"Choose one sweep ({named}) or metrics (--metric NAME), or run the cells with the same eval settings."
    return "Choose metrics (--metric NAME), or run all cells with the same eval settings: only missing scores are measured."
