"""Two calibration sets against each other over methods, sparsities and metrics: a draw of data counts once.

All that one draw was used for is averaged into one number, and two sets' draws are then compared as two rows are
(compare.py). Arrays: S draws, K strata, N items.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prune.cell.result import CellResult
from prune.eval.metric import ACCURACY
from prune.report.compare.compare import Column, compare_pairs, draw_variances, score_variance
from prune.report.compare.statistics import Difference
from prune.report.model import Array
from prune.report.results.items import ItemsOfRows, RowItems, row_items, stack

Stratum = tuple[int, str, str]
"""Group, what else tells a row, and metric."""
Draw = tuple[int, int] | None
"""Seed and number, as `CellResult.draw`."""
Draws = Mapping[Draw, Mapping[Stratum, int]]
"""Draw -> stratum -> the cell that was measured there."""


@dataclass(frozen=True, slots=True)
class Balanced:
    """Two sides whose draws were all used for the same."""

    strata: Sequence[Stratum]
    sides: Sequence[Sequence[Mapping[Stratum, int]]]
    """[side][draw]."""

    @property
    def num_cells(self) -> int:
        """The cells of both sides."""
        return len({cell for side in self.sides for draw in side for cell in (draw[stratum] for stratum in self.strata)})


def balance(sides: Sequence[Draws]) -> Balanced | None:
    """The draws and strata that keep the most scores without a gap; None where the sides share no stratum.

    Without this a draw that lacks a sparsity would differ from the others for that reason alone.
    """
    options = []
    for least in sorted({len(strata) for side in sides for strata in side.values()}):
        complete = [[strata for strata in side.values() if len(strata) >= least] for side in sides]
        if all(complete):
            common = set.intersection(*(set(strata) for side in complete for strata in side))
            options.append(Balanced(sorted(common), complete))
    best = max(options, key=lambda option: len(option.strata) * sum(map(len, option.sides)), default=None)
    return best if best is not None and best.strata else None


def compare_draws(balanced: Balanced, results: Sequence[CellResult], items: ItemsOfRows | None) -> tuple[Difference, bool]:
    """(the first side minus the second, perplexities as losses; whether both have two draws or more)."""
    first = results[balanced.sides[0][0][balanced.strata[0]]].scores[balanced.strata[0][2]]
    values = [[_mean_score(draw, balanced.strata, results) for draw in side] for side in balanced.sides]
    drawn = [None not in {results[cell].draw for draw in side for cell in draw.values()} for side in balanced.sides]
    draw_var_R, num_draws_R = draw_variances(values, drawn)
    column = Column(
        metric="",
        values=values,
        mean_R=np.array([math.fsum(side) / len(side) for side in values]),
        item_var_R=np.array([_item_variance(side, balanced.strata, results) for side in balanced.sides]),
        draw_var_R=draw_var_R,
        num_draws_R=num_draws_R,
        higher_is_better=first.higher_is_better,
        is_log=first.is_log,
    )
    shared = (
        None
        if items is None
        else _SharedItems(
            [_side_items(side, balanced.strata, items, answers=first.unit == ACCURACY) for side in balanced.sides]
        )
    )
    pairs = compare_pairs(column, np.array([0]), np.array([1]), shared)
    (value,), (variance,), (df,) = pairs.difference_P.tolist(), pairs.variance_P.tolist(), pairs.df_P.tolist()
    return Difference(value, variance, df, math.nan, math.nan, math.nan).among(1.0), not np.isnan(draw_var_R).any()


def _mean_score(draw: Mapping[Stratum, int], strata: Sequence[Stratum], results: Sequence[CellResult]) -> float:
    return math.fsum(results[draw[stratum]].scores[stratum[2]].compared for stratum in strata) / len(strata)


def _item_variance(side: Sequence[Mapping[Stratum, int]], strata: Sequence[Stratum], results: Sequence[CellResult]) -> float:
    """Of a draw's mean, from standard errors: groups answer the same items, metrics have items of their own."""
    by_metric: dict[str, list[float]] = {}
    for stratum in strata:
        scores = [results[draw[stratum]].scores[stratum[2]] for draw in side]
        by_metric.setdefault(stratum[2], []).extend(score_variance(score) for score in scores)
    weights = {metric: sum(stratum[2] == metric for stratum in strata) / len(strata) for metric in by_metric}
    return math.fsum(weights[metric] ** 2 * float(np.mean(variances)) for metric, variances in by_metric.items())


@dataclass(frozen=True, slots=True)
class _SharedItems:
    """The items of two sides."""

    sides: Sequence[RowItems | None]

    def of_row(self, row: int, metric: str) -> RowItems | None:
        return self.sides[row]


def _side_items(
    side: Sequence[Mapping[Stratum, int]], strata: Sequence[Stratum], items: ItemsOfRows, *, answers: bool
) -> RowItems | None:
    """The items of all metrics in one row of numbers, shape (S, N), whose mean is the draws' mean.

    Groups that answered the same items are averaged. Each metric counts as it does in the mean, and only its items' scatter
    around its own mean.
    """
    parts: dict[tuple[str, int], list[Array]] = {}
    for stratum in strata:
        values_SN = stack([items.of_cell(draw[stratum], stratum[2]) for draw in side])
        if values_SN is None:
            return None
        parts.setdefault((stratum[2], values_SN.shape[1]), []).append(values_SN)
    num_all = sum(num for _, num in parts)
    scaled, least = [], 0.0
    for (_, num), several in parts.items():
        values_SN = np.mean(several, axis=0)
        weight = len(several) / len(strata)
        scaled.append(weight * num_all / num * (values_SN - values_SN.mean(axis=1, keepdims=True)))
        least += (weight / num) ** 2 / len(side) if answers else 0.0
    means_S = sum(len(several) / len(strata) * np.mean(several, axis=(0, 2)) for several in parts.values())
    whole = row_items(np.asarray(means_S)[:, None] + np.concatenate(scaled, axis=1), None)
    return RowItems(whole.mean_N, whole.draw_variance, least)
