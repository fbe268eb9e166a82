"""Draws that gave the same calibration set, which are no new evidence."""

from collections.abc import Sequence
from typing import Any

from prune.cell.result import CellResult

_OF_DRAWS = ("calib.seed", "calib.draw")
"""The knobs of a draw."""


def without_repeated(results: Sequence[CellResult]) -> tuple[list[CellResult], list[CellResult]]:
    """(the results, with one of the draws that gave the same sequences under one setting; those left out).

    Draws count as independent. They are not where a selector takes the same rows of a small set, or where one draw uses up
    a set: then only the first counts, by draw and seed.
    """
    kept: dict[Any, CellResult] = {}
    repeated = []
    for result in sorted(results, key=_draw):
        place = result.id if result.sequences_sha256 is None else (_setting(result), result.sequences_sha256)
        if place in kept:
            repeated.append(result)
        kept.setdefault(place, result)
    out = {result.id for result in repeated}
    return [result for result in results if result.id not in out], repeated


def _draw(result: CellResult) -> tuple[int, ...]:
    return tuple(number if isinstance(number := result.knobs.get(key), int) else 0 for key in reversed(_OF_DRAWS))


def _setting(result: CellResult) -> tuple[Any, ...]:
    """The identity of the cell without its draw."""
    return (result.dense_cell, *sorted((key, repr(value)) for key, value in result.knobs.items() if key not in _OF_DRAWS))
