"""Rows of one metric against each other: means, intervals, p values, ranks.

Perplexities are compared as mean losses, the logarithm: draws are averaged there (geometric mean), differences are
differences of losses, and results are turned back into perplexity.

Two noises count, each where it is known: that of the **items** (paired: both sides answered the same ones) and that of the
**draws** of the calibration set, whose spread each row has for itself. A draw's answers vary in both: that part is counted
once. bench/validity.py measures the false positives.

Arrays: R rows, P pairs.
"""

import math
import sys
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prune.cell.result import CellResult
from prune.eval.metric import ACCURACY
from prune.eval.metric import Metric as Score
from prune.report.compare.statistics import DrawNoise, add_noises, holm_factors, rank, t_comparison
from prune.report.model import Comparisons, RowMetric
from prune.report.numbers import Array, Basis, Numbers
from prune.report.results.items import RowItems
from prune.report.results.join import Joined

Indices = NDArray[np.int64]

LARGEST_LOG = math.log(sys.float_info.max)
"""The logarithm of the largest perplexity that a float holds."""


class Items(Protocol):
    """The scores of rows on each item."""

    def of_row(self, row: int, metric: str) -> RowItems | None:
        """The items of a row; None where they are not known."""


@dataclass(frozen=True, slots=True)
class Column:
    """One metric of all rows, perplexities on the log scale. NaN: not known."""

    metric: str
    values: Sequence[Sequence[float]]
    """[row][draw]."""
    mean_R: Array
    item_var_R: Array
    """Square of the standard error over the items."""
    draw_var_R: Array
    """Variance of the row's mean, from the spread over its draws; 0 for a row without draws, like dense."""
    num_draws_R: Array
    """Number of draws; infinite for a row without draws."""
    higher_is_better: bool
    is_log: bool

    def known_means(self, rows: Sequence[int]) -> dict[int, float]:
        """Row -> its mean, for the rows that have one."""
        means = self.mean_R[list(rows)].tolist()
        return {row: mean for row, mean in zip(rows, means, strict=True) if not math.isnan(mean)}


@dataclass(frozen=True, slots=True)
class Pairs:
    """Comparisons of rows, perplexities on the log scale."""

    difference_P: Array
    variance_P: Array
    df_P: Array
    p_P: Array
    basis_P: Indices


def collect_column(metric: str, results: Sequence[CellResult], joined: Joined) -> Column:
    """The metric of all rows."""
    scores = [[results[c].scores[metric] for c in row.cells if metric in results[c].scores] for row in joined.rows]
    first = next(score for of_row in scores for score in of_row)
    values = [[score.compared for score in of_row] for of_row in scores]
    item_var = [_mean([v for score in of_row if not math.isnan(v := score_variance(score))]) for of_row in scores]
    draw_var_R, num_draws_R = draw_variances(values, [_is_drawn(row.cells, results) for row in joined.rows])
    return Column(
        metric=metric,
        values=values,
        mean_R=np.array([_mean(of_row) for of_row in values]),
        item_var_R=np.array(item_var),
        draw_var_R=draw_var_R,
        num_draws_R=num_draws_R,
        higher_is_better=first.higher_is_better,
        is_log=first.is_log,
    )


def score_variance(score: Score) -> float:
    """Square of a score's standard error over its items, on the scale of comparison; NaN where it is not known.

    Where all answers are alike it is that of one other answer: equal answers do not prove that there is no noise.
    """
    if score.stderr is None:
        return math.nan
    error = score.stderr / score.value if score.is_log else score.stderr
    return float(max(error, 1 / score.num_items if score.unit == ACCURACY else 0.0) ** 2)


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def _is_drawn(cells: Sequence[int], results: Sequence[CellResult]) -> bool:
    return results[cells[0]].axes["seed"] is not None


def draw_variances(values: Sequence[Sequence[float]], drawn: Sequence[bool]) -> tuple[Array, Array]:
    """(variance of each row's mean over its draws, their number): NaN for a single draw, 0 and infinite without draws."""
    drawn_R = np.array(drawn, dtype=bool)
    counts_R = np.array([len(of_row) for of_row in values], dtype=np.float64)
    variance_R = _variances(values) / np.maximum(counts_R, 1)
    return np.where(drawn_R, variance_R, 0.0), np.where(drawn_R, counts_R, np.inf)


def _variances(values: Sequence[Sequence[float]]) -> Array:
    """Variance of each row's values (n - 1 in the denominator): exactly 0 of equal values, NaN of fewer than two."""
    values_RS = np.array(list(zip_longest(*values, fillvalue=math.nan)), dtype=np.float64).T
    known_RS = ~np.isnan(values_RS)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        shifted_RS = np.where(known_RS, values_RS - values_RS[:, :1], 0.0)
        means_R = shifted_RS.sum(axis=1, keepdims=True) / known_RS.sum(axis=1, keepdims=True)
        variances_R: Array = np.sum((shifted_RS - means_R) ** 2, axis=1, where=known_RS) / (known_RS.sum(axis=1) - 1)
        return variances_R


def compare_pairs(column: Column, this_P: Indices, other_P: Indices, items: Items | None) -> Pairs:
    """Row `this` minus row `other` for each pair, item by item where both rows have their items."""
    num_pairs = len(this_P)
    item_var_P = column.item_var_R[this_P] + column.item_var_R[other_P]
    item_df_P, counted_twice_P, least_P = np.full(num_pairs, np.inf), np.zeros(num_pairs), np.zeros(num_pairs)
    paired_P = np.zeros(num_pairs, dtype=bool)
    for index, (first, second) in _shared_items(column, this_P, other_P, items).items():
        differences_N = first.mean_N - second.mean_N
        item_var_P[index] = np.var(differences_N, ddof=1) / len(differences_N)
        item_df_P[index] = len(differences_N) - 1
        counted_twice_P[index] = first.draw_variance + second.draw_variance
        least_P[index] = first.least_variance + second.least_variance
        paired_P[index] = True
    draws = _draw_noise(column, this_P, other_P)
    knows_draws_P = ~np.isnan(draws.first_R + draws.second_R)
    knows_items_P = ~np.isnan(item_var_P)
    own_P = np.where(knows_draws_P, np.maximum(item_var_P - counted_twice_P, 0.0), item_var_P)
    own_P = np.where(knows_draws_P & ~knows_items_P, 0.0, own_P)
    draws = _without_single(draws, knows_draws_P)
    own_P = np.maximum(own_P, least_P - draws.first_R - draws.second_R)
    variance_P, df_P = add_noises(own_P, item_df_P, draws)
    difference_P = column.mean_R[this_P] - column.mean_R[other_P]
    _, _, p_P = t_comparison(difference_P, variance_P, df_P)
    basis_P = np.where(paired_P, Basis.ITEMS, Basis.STDERR) + np.where(knows_draws_P, 1, 0)
    basis_P[~knows_items_P] = Basis.SEEDS
    basis_P[np.isnan(p_P)] = Basis.NONE
    return Pairs(difference_P, variance_P, df_P, p_P, basis_P)


def _draw_noise(column: Column, this_P: Indices, other_P: Indices) -> DrawNoise:
    variance_R, number_R = column.draw_var_R, column.num_draws_R
    return DrawNoise(variance_R[this_P], variance_R[other_P], number_R[this_P], number_R[other_P])


def _without_single(draws: DrawNoise, knows_draws_P: NDArray[np.bool_]) -> DrawNoise:
    """The noise of draws; nothing is added where a side has a single draw."""
    return DrawNoise(
        np.where(knows_draws_P, draws.first_R, 0.0),
        np.where(knows_draws_P, draws.second_R, 0.0),
        np.where(knows_draws_P, draws.num_first_R, np.inf),
        np.where(knows_draws_P, draws.num_second_R, np.inf),
    )


def _shared_items(
    column: Column, this_P: Indices, other_P: Indices, items: Items | None
) -> dict[int, tuple[RowItems, RowItems]]:
    """Index of a pair -> the scores of its rows on the same items, two or more."""
    found: dict[int, tuple[RowItems, RowItems]] = {}
    if items is None:
        return found
    for index, (this, other) in enumerate(zip(this_P.tolist(), other_P.tolist(), strict=True)):
        first, second = items.of_row(this, column.metric), items.of_row(other, column.metric)
        if first is not None and second is not None and len(first.mean_N) == len(second.mean_N) > 1:
            found[index] = (first, second)
    return found


def intervals(column: Column, pairs: Pairs, other_P: Indices, factor_P: Array) -> tuple[Array, Array, Array]:
    """(difference, low, high) in the metric's unit; intervals miss 0.05 / factor. Perplexities: against the other row's."""
    low_P, high_P, _ = t_comparison(pairs.difference_P, pairs.variance_P, pairs.df_P, factor_P)
    if not column.is_log:
        return pairs.difference_P, low_P, high_P
    with np.errstate(over="ignore", invalid="ignore"):
        base_P = np.exp(column.mean_R[other_P])
        return base_P * np.expm1(pairs.difference_P), base_P * np.expm1(low_P), base_P * np.expm1(high_P)


def compare_rows(column: Column, joined: Joined, items: Items | None, only: AbstractSet[int] | None = None) -> RowMetric:
    """The metric of every row: draws, rank, differences to the baseline and to dense, each by Holm over the group's rows.

    Args:
        only: the rows that are compared item by item; None: all.
    """
    to_others = partial(_compare_to, column, joined, items=items, only=only)
    low_R, high_R, _ = t_comparison(column.mean_R, column.draw_var_R, column.num_draws_R - 1)
    return RowMetric(
        mean=_unit(column, column.mean_R),
        sd=_spread(column),
        low=_unit(column, low_R),
        high=_unit(column, high_R),
        num_draws=[len(values) for values in column.values],
        rank=_ranks(column, joined),
        to_baseline=to_others([group.baseline_row for group in joined.groups]),
        to_dense=to_others([group.dense_row for group in joined.groups]),
    )


def _unit(column: Column, numbers_R: Array) -> Numbers:
    return _known(np.exp(np.minimum(numbers_R, LARGEST_LOG)) if column.is_log else numbers_R)


def _known(numbers_R: Array) -> Numbers:
    return [number if math.isfinite(number) else None for number in numbers_R.tolist()]


def _spread(column: Column) -> Numbers:
    """Standard deviation over the draws, in the metric's unit."""
    values = (
        [np.exp(np.minimum(of_row, LARGEST_LOG)).tolist() for of_row in column.values] if column.is_log else column.values
    )
    return _known(np.sqrt(_variances(values)))


def _ranks(column: Column, joined: Joined) -> list[int | None]:
    ranks: list[int | None] = [None] * len(joined.rows)
    for group in joined.groups:
        means = column.known_means(group.rows)
        places = rank(list(means.values()), higher_is_better=column.higher_is_better)
        for row, place in zip(means, places, strict=True):
            ranks[row] = place
    return ranks


def _compare_to(
    column: Column, joined: Joined, others: Sequence[int | None], items: Items | None, only: AbstractSet[int] | None
) -> Comparisons:
    """Every row against one row of its group; p and intervals by Holm over the rows of the group."""
    other_of = [others[row.group] for row in joined.rows]
    this = [row for row, other in enumerate(other_of) if other is not None and other != row]
    this_P = np.array(this, dtype=np.int64)
    other_P = np.array([other_of[row] for row in this], dtype=np.int64)
    pairs = compare_pairs(column, this_P, other_P, items if only is None or items is None else _Only(items, only, others))
    factor_P = _factors(pairs.p_P, this, joined)
    difference_P, low_P, high_P = intervals(column, pairs, other_P, factor_P)
    basis = np.zeros(len(joined.rows), dtype=np.int64)
    basis[this_P] = pairs.basis_P
    spread = partial(_over_rows, this_P=this_P, num_rows=len(joined.rows))
    return Comparisons(
        difference=spread(difference_P),
        low=spread(low_P),
        high=spread(high_P),
        p=spread(np.minimum(1.0, factor_P * pairs.p_P)),
        basis=basis.tolist(),
    )


@dataclass(frozen=True, slots=True)
class _Only:
    """The items of some rows and of the rows that they are compared with."""

    items: Items
    rows: AbstractSet[int]
    others: Sequence[int | None]

    def of_row(self, row: int, metric: str) -> RowItems | None:
        return self.items.of_row(row, metric) if row in self.rows or row in self.others else None


def _factors(p_P: Array, this: Sequence[int], joined: Joined) -> Array:
    """Holm's factor of each p, over the rows of its group."""
    factor_P = np.full(len(p_P), np.nan)
    indices_of: dict[int, list[int]] = {}
    for index, row in enumerate(this):
        indices_of.setdefault(joined.rows[row].group, []).append(index)
    for indices in indices_of.values():
        factor_P[indices] = holm_factors(p_P[indices])
    return factor_P


def _over_rows(numbers_P: Array, this_P: Indices, num_rows: int) -> Numbers:
    numbers_R = np.full(num_rows, np.nan)
    numbers_R[this_P] = numbers_P
    return _known(numbers_R)
