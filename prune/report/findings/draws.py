"""Two calibration sets against each other over methods, sparsities and metrics: a draw of data counts once.

All scores of one draw are averaged into one number, and two sets' draws are then compared as two rows are (compare.py).
Arrays: S draws, K strata, N items.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product

import numpy as np

from prune.cell.result import CellResult
from prune.eval.metric import ACCURACY
from prune.report.compare.compare import Column, Pairs, compare_pairs, draw_variances, score_variance
from prune.report.compare.statistics import Difference
from prune.report.numbers import Array
from prune.report.results.items import ItemsOfRows, RowItems, row_items, stack

Stratum = tuple[int, str, str]
"""Group, the row's other knobs, and metric."""
Draw = tuple[int, int] | None
"""Seed and number, as `CellResult.draw`."""
Draws = Mapping[Draw, Mapping[Stratum, int]]
"""Draw -> stratum -> the cell with its score."""


@dataclass(frozen=True, slots=True)
class Balanced:
    """Two sides whose draws all have the same strata."""

    strata: Sequence[Stratum]
    sides: Sequence[Sequence[Mapping[Stratum, int]]]
    """[side][draw]."""

    @property
    def num_cells(self) -> int:
        """The cells of both sides."""
        return len({cell for side in self.sides for draw in side for cell in (draw[stratum] for stratum in self.strata)})


def draws_with(draws: Draws, strata: Collection[Stratum]) -> list[Mapping[Stratum, int]]:
    """The draws that have all of the strata."""
    wanted = frozenset(strata)
    return [measured for measured in draws.values() if wanted <= measured.keys()]


def has_two_draws(draws: Draws, strata: Collection[Stratum]) -> bool:
    """Whether the noise of draws is known: two draws or more have all of the strata, or nothing is drawn."""
    return len(draws_with(draws, strata)) > (0 if None in draws else 1)


def choices(sides: Sequence[Draws]) -> list[frozenset[Stratum]]:
    """The strata that one, two or all draws of each side share, in all combinations: the sides can be compared there."""
    options = [_choices_of(list(dict.fromkeys(map(frozenset, side.values())))) for side in sides]
    return list(dict.fromkeys(frozenset.intersection(*each) for each in product(*options)))


def _choices_of(own: Sequence[frozenset[Stratum]]) -> list[frozenset[Stratum]]:
    pairs = [first & second for first, second in combinations_with_replacement(own, 2)]
    return list(dict.fromkeys([*pairs, frozenset.intersection(*own)])) if own else []


def balance(sides: Sequence[Draws]) -> Balanced | None:
    """The draws and strata that keep the most scores without a gap; None where the sides share no stratum.

    A draw that lacks a sparsity would otherwise differ from the others for that reason alone. Two draws of each side on few
    strata come before one draw on many, which says nothing of sets.
    """
    options = [
        Balanced(sorted(strata), [draws_with(side, strata) for side in sides])
        for strata in sorted(filter(None, choices(sides)), key=len)
    ]

    def worth(option: Balanced) -> tuple[bool, int]:
        num_draws = [len(side) for side in option.sides]
        return min(num_draws) > 1, len(option.strata) * sum(num_draws)

    return max(options, key=worth, default=None)


@dataclass(frozen=True, slots=True)
class Compared:
    """First sides minus second sides; perplexities as losses."""

    pairs: Pairs
    draw_var_P: Array
    """Variance of each difference from the draws of both sides; NaN where a side has a single draw."""
    item_var_P: Array
    """From the items that both sides share; NaN where they share none."""


def compare_draws(balanced: Balanced, results: Sequence[CellResult], items: ItemsOfRows | None) -> tuple[Difference, bool]:
    """(the first side minus the second, perplexities as losses; whether the draws' noise is known)."""
    found = compare_sides([balanced], results, items)
    arrays = (found.pairs.difference_P, found.pairs.variance_P, found.pairs.df_P)
    (value,), (variance,), (df,) = (array.tolist() for array in arrays)
    return Difference(value, variance, df, math.nan, math.nan, math.nan).among(1.0), not np.isnan(found.draw_var_P).any()


def compare_sides(contrasts: Sequence[Balanced], results: Sequence[CellResult], items: ItemsOfRows | None) -> Compared:
    """The two sides of each contrast against each other, P contrasts of one measure."""
    first = results[contrasts[0].sides[0][0][contrasts[0].strata[0]]].scores[contrasts[0].strata[0][2]]
    sides = [(side, balanced.strata) for balanced in contrasts for side in balanced.sides]
    values = [[_mean_score(draw, strata, results) for draw in side] for side, strata in sides]
    drawn = [all(results[draw[strata[0]]].draw is not None for draw in side) for side, strata in sides]
    draw_var_R, num_draws_R = draw_variances(values, drawn)
    column = Column(
        metric="",
        values=values,
        mean_R=np.array([math.fsum(of_side) / len(of_side) for of_side in values]),
        item_var_R=np.array([_item_variance(side, strata, results) for side, strata in sides]),
        draw_var_R=draw_var_R,
        num_draws_R=num_draws_R,
        higher_is_better=first.higher_is_better,
        is_log=first.is_log,
    )
    shared = None if items is None else _SharedItems(_items_of_sides(sides, items, answers=first.unit == ACCURACY))
    this_P = np.arange(0, len(sides), 2)
    pairs = compare_pairs(column, this_P, this_P + 1, shared)
    return Compared(pairs, draw_var_R[::2] + draw_var_R[1::2], _paired_variances(shared, len(contrasts)))


def _items_of_sides(
    sides: Sequence[tuple[Sequence[Mapping[Stratum, int]], Sequence[Stratum]]], items: ItemsOfRows, *, answers: bool
) -> list[RowItems | None]:
    """The items of each side; a side of many contrasts is averaged once."""
    known: dict[object, RowItems | None] = {}
    found = []
    for side, strata in sides:
        key = tuple(tuple(draw[stratum] for stratum in strata) for draw in side), tuple(s[2] for s in strata)
        if key not in known:
            known[key] = _side_items(side, strata, items, answers=answers)
        found.append(known[key])
    return found


def _paired_variances(shared: "_SharedItems | None", number: int) -> Array:
    variance_P = np.full(number, np.nan)
    for place in range(number if shared is not None else 0):
        assert shared is not None, "there is nothing to go through without items"
        first, second = shared.sides[2 * place], shared.sides[2 * place + 1]
        if first is not None and second is not None and len(first.mean_N) == len(second.mean_N) > 1:
            variance_P[place] = np.var(first.mean_N - second.mean_N, ddof=1) / len(first.mean_N)
    return variance_P


def _mean_score(draw: Mapping[Stratum, int], strata: Sequence[Stratum], results: Sequence[CellResult]) -> float:
    return math.fsum(results[draw[stratum]].scores[stratum[2]].compared for stratum in strata) / len(strata)


def _item_variance(side: Sequence[Mapping[Stratum, int]], strata: Sequence[Stratum], results: Sequence[CellResult]) -> float:
    """Variance of a draw's mean from standard errors: groups share their items, metrics have their own."""
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
    """The items of all metrics in one array, shape (S, N), whose means over N are the draws' means; None where any lack.

    Groups that answered the same items are averaged. Each metric has its weight in the mean, and its items vary around
    its own mean only.
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
