"""Whether numbers of one metric may be compared: cells of one model must have measured it in one way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prune.errors import UserError
from prune.report.results.read import Result, Score

NEUTRAL = frozenset({"batch_size", "dtype", "lm_eval", "parsed_share", "overflow"})
"""Keys of a protocol that may differ: they do not say what was asked. (A model's own dtype is part of its identity;
versions are a warning; the last two are results.)"""


@dataclass(slots=True)
class _Way:
    """One way of measuring, and the cells that were measured so."""

    asked: dict[str, Any]
    cells: list[str]
    first: Score
    """A score that was measured so."""

    def is_of(self, score: Score) -> bool:
        """Whether a score was measured so. Most are alike in the neutral keys too, which is told without a copy."""
        if score.protocol == self.first.protocol and score.num_items == self.first.num_items:
            return True
        return _asked(score) == self.asked


Ways = dict[tuple[str, str], list[_Way]]
"""(dense cell, metric) -> the ways that it was measured in."""


def check_protocols(results: Sequence[Result], sweeps: Sequence[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """(dense cell, metric) -> its one protocol with its number of items, without the neutral keys.

    Raises:
        UserError: cells of one model measured a metric in two ways; the message says which keys differ and in which cells.
    """
    ways = _ways(results)
    problems = [_describe(metric, several) for (_, metric), several in ways.items() if len(several) > 1]
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:8])
        more = f"\n  and {len(problems) - 8} more metrics" if len(problems) > 8 else ""
        raise UserError(f"These results cannot be mixed, they were not measured in one way:{shown}{more}\n{_advice(sweeps)}")
    return {key: several[0].asked for key, several in ways.items()}


def _ways(results: Sequence[Result]) -> Ways:
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


def _asked(score: Score) -> dict[str, Any]:
    asked = {key: value for key, value in score.protocol.items() if key not in NEUTRAL}
    return asked | {"num_items": score.num_items}


def _describe(metric: str, ways: Sequence[_Way]) -> str:
    """`acc/gsm8k: num_items is 100 in tiny/dense and 3 more, 200 in tiny/c4/wanda/50%/s0`."""
    keys = sorted({key for way in ways for key in way.asked if any(way.asked.get(key) != o.asked.get(key) for o in ways)})
    parts = [f"{_values(way.asked, keys)} in {_some(way.cells)}" for way in ways]
    return f"{metric}: {'; '.join(parts)}"


def _values(asked: Mapping[str, Any], keys: Sequence[str]) -> str:
    return " ".join(f"{key}={asked.get(key)}" for key in keys)


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _advice(sweeps: Sequence[str]) -> str:
    if len(sweeps) > 1:
        named = " or ".join(f"--sweep {sweep}" for sweep in sweeps[:5])
        return f"Name one sweep ({named}) or the metrics (--metric NAME), or run the cells with the same eval settings."
    return (
        "Name the metrics (--metric NAME), or run all cells with the same eval settings: only what is missing is measured."
    )
