"""Rows of one metric against each other: means, intervals, p values, ranks.

Perplexities are handled on the log scale, where they are mean losses: their seeds are joined there (geometric mean), their
differences are differences of losses, and what comes out is turned back into perplexity.

Two noises are known or not, and added where both are: that of the **items** (paired: both sides answered the same ones) and
that of the **seeds** (the draw of the calibration set). The spread over seeds is taken as the same for all rows of a group
and pooled over them, because a row has two or three seeds only. Spread over seeds also holds some of the items' noise, so
that the sum is rather too wide than too narrow.

Arrays: R rows, P pairs.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from prune.report.compare.statistics import (
    add_variances,
    can_be_resampled,
    holm,
    paired_bootstrap,
    pooled_variance,
    rank,
    summarise,
    t_comparison,
)
from prune.report.model import Array, Basis, Comparisons, Numbers, RowMetric
from prune.report.results.items import ItemsOfRows
from prune.report.results.join import Joined
from prune.report.results.read import Result

Indices = NDArray[np.int64]

LARGEST_LOG = math.log(sys.float_info.max)
"""Of a perplexity that is the largest float."""


@dataclass(frozen=True, slots=True)
class Column:
    """One metric of all rows; on the log scale for perplexities. NaN: not known."""

    metric: str
    values: Sequence[Sequence[float]]
    """[row][seed]."""
    mean_R: Array
    item_var_R: Array
    """Square of the standard error over the items."""
    seed_var_R: Array
    """Of the row's mean, from the spread over seeds; 0 for a row that has no seed, like dense."""
    seed_df_R: Array
    higher_is_better: bool
    is_log: bool

    def known_means(self, rows: Sequence[int]) -> dict[int, float]:
        """Row -> its mean, of the rows where it is known."""
        means = self.mean_R[list(rows)].tolist()
        return {row: mean for row, mean in zip(rows, means, strict=True) if not math.isnan(mean)}


@dataclass(frozen=True, slots=True)
class Pairs:
    """Comparisons of rows, in the metric's unit."""

    difference_P: Array
    low_P: Array
    high_P: Array
    p_P: Array
    basis_P: Indices


def collect_column(metric: str, results: Sequence[Result], joined: Joined) -> Column:
    """The metric of all rows."""
    scores = [[results[c].scores[metric] for c in row.cells if metric in results[c].scores] for row in joined.rows]
    first = next(score for of_row in scores for score in of_row)
    values = [[score.compared for score in of_row] for of_row in scores]
    item_var = [
        _mean([(s.stderr / s.value if s.is_log else s.stderr) ** 2 for s in of_row if s.stderr is not None])
        for of_row in scores
    ]
    seed_var_R, seed_df_R = _seed_variances(values, results, joined)
    return Column(
        metric=metric,
        values=values,
        mean_R=np.array([_mean(of_row) for of_row in values]),
        item_var_R=np.array(item_var),
        seed_var_R=seed_var_R,
        seed_df_R=seed_df_R,
        higher_is_better=first.higher_is_better,
        is_log=first.is_log,
    )


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def _seed_variances(values: Sequence[Sequence[float]], results: Sequence[Result], joined: Joined) -> tuple[Array, Array]:
    """(variance of each row's mean, its degrees of freedom), the spread pooled over the rows of a group."""
    variance_R, df_R = np.full(len(values), np.nan), np.full(len(values), np.nan)
    for group in joined.groups:
        pooled, df = pooled_variance([values[row] for row in group.rows])
        for row in group.rows:
            if results[joined.rows[row].cells[0]].axes["seed"] is None:
                variance_R[row], df_R[row] = 0.0, np.inf
            elif len(values[row]) > 1:
                variance_R[row], df_R[row] = pooled / len(values[row]), df
    return variance_R, df_R


def compare_pairs(column: Column, this_P: Indices, other_P: Indices, items: ItemsOfRows | None) -> Pairs:
    """Row `this` minus row `other` for each pair; paired on `items` where both rows have them."""
    difference_P = column.mean_R[this_P] - column.mean_R[other_P]
    item_var_P = column.item_var_R[this_P] + column.item_var_R[other_P]
    item_df_P = np.full(len(this_P), np.inf)
    differences = _item_differences(column, this_P, other_P, items)
    for index, differences_N in differences.items():
        item_var_P[index] = np.var(differences_N, ddof=1) / len(differences_N)
        item_df_P[index] = len(differences_N) - 1
    seed_var_P, seed_df_P = add_variances(
        [column.seed_var_R[this_P], column.seed_var_R[other_P]], [column.seed_df_R[this_P], column.seed_df_R[other_P]]
    )
    knows_seeds_P = ~np.isnan(seed_var_P)
    total_P, df_P = add_variances(
        [item_var_P, np.where(knows_seeds_P, seed_var_P, 0.0)], [item_df_P, np.where(knows_seeds_P, seed_df_P, np.inf)]
    )
    low_P, high_P, p_P = t_comparison(difference_P, total_P, df_P)
    for index, differences_N in differences.items():
        if not knows_seeds_P[index] and not column.is_log and can_be_resampled(differences_N):
            resampled = paired_bootstrap(differences_N)
            low_P[index], high_P[index], p_P[index] = resampled.low, resampled.high, resampled.p
    paired_P = np.isin(np.arange(len(this_P)), list(differences))
    basis_P = np.where(paired_P, Basis.ITEMS, Basis.STDERR) + np.where(knows_seeds_P, 1, 0)
    basis_P[np.isnan(p_P)] = Basis.NONE
    return _to_unit(column, Pairs(difference_P, low_P, high_P, p_P, basis_P), other_P)


def _item_differences(column: Column, this_P: Indices, other_P: Indices, items: ItemsOfRows | None) -> dict[int, Array]:
    """Index of a pair -> differences of two items or more, shape (N,)."""
    found: dict[int, Array] = {}
    if items is None:
        return found
    for index, (this, other) in enumerate(zip(this_P.tolist(), other_P.tolist(), strict=True)):
        first, second = items.of_row(this, column.metric), items.of_row(other, column.metric)
        if first is not None and second is not None and len(first) == len(second) > 1:
            found[index] = first - second
    return found


def _to_unit(column: Column, pairs: Pairs, other_P: Indices) -> Pairs:
    """Differences of logarithms as differences to the other row's perplexity."""
    if not column.is_log:
        return pairs
    with np.errstate(over="ignore", invalid="ignore"):
        base_P = np.exp(column.mean_R[other_P])
        return Pairs(
            base_P * np.expm1(pairs.difference_P),
            base_P * np.expm1(pairs.low_P),
            base_P * np.expm1(pairs.high_P),
            pairs.p_P,
            pairs.basis_P,
        )


def compare_rows(column: Column, joined: Joined, items: ItemsOfRows | None) -> RowMetric:
    """The metric of every row: seeds, rank, difference to the baseline (p by Holm) and to dense."""
    summaries = [summarise(values) if values else None for values in column.values]
    low = [None if s is None else s.low for s in summaries]
    high = [None if s is None else s.high for s in summaries]
    return RowMetric(
        mean=_unit(column, column.mean_R.tolist()),
        sd=_spread(column),
        low=_unit(column, low),
        high=_unit(column, high),
        num_seeds=[len(values) for values in column.values],
        rank=_ranks(column, joined),
        to_baseline=_compare_to(column, joined, [group.baseline_row for group in joined.groups], items, adjust=True),
        to_dense=_compare_to(column, joined, [group.dense_row for group in joined.groups], items, adjust=False),
    )


def _unit(column: Column, numbers: Sequence[float | None]) -> Numbers:
    known = [None if number is None or math.isnan(number) else number for number in numbers]
    if not column.is_log:
        return known
    return [None if number is None else math.exp(min(number, LARGEST_LOG)) for number in known]


def _spread(column: Column) -> Numbers:
    """Standard deviation over the seeds, of perplexities in perplexity."""
    values = [_unit(column, of_row) for of_row in column.values]
    return [summarise([v for v in of_row if v is not None]).sd if len(of_row) > 1 else None for of_row in values]


def _ranks(column: Column, joined: Joined) -> list[int | None]:
    ranks: list[int | None] = [None] * len(joined.rows)
    for group in joined.groups:
        means = column.known_means(group.rows)
        places = rank(list(means.values()), higher_is_better=column.higher_is_better)
        for row, place in zip(means, places, strict=True):
            ranks[row] = place
    return ranks


def _compare_to(
    column: Column, joined: Joined, others: Sequence[int | None], items: ItemsOfRows | None, *, adjust: bool
) -> Comparisons:
    """Every row against one row for each group; `adjust`: by Holm over the rows of the group."""
    other_of = [others[row.group] for row in joined.rows]
    this = [row for row, other in enumerate(other_of) if other is not None and other != row]
    this_P = np.array(this, dtype=np.int64)
    pairs = compare_pairs(column, this_P, np.array([other_of[row] for row in this], dtype=np.int64), items)
    p_P = _adjusted(pairs.p_P, this, joined) if adjust else pairs.p_P
    basis = np.zeros(len(joined.rows), dtype=np.int64)
    basis[this_P] = pairs.basis_P
    spread = partial(_over_rows, this_P=this_P, num_rows=len(joined.rows))
    return Comparisons(
        difference=spread(pairs.difference_P),
        low=spread(pairs.low_P),
        high=spread(pairs.high_P),
        p=spread(p_P),
        basis=basis.tolist(),
    )


def _adjusted(p_P: Array, this: Sequence[int], joined: Joined) -> Array:
    adjusted_P = np.full(len(p_P), np.nan)
    indices_of: dict[int, list[int]] = {}
    for index, row in enumerate(this):
        indices_of.setdefault(joined.rows[row].group, []).append(index)
    for indices in indices_of.values():
        adjusted_P[indices] = holm(p_P[indices])
    return adjusted_P


def _over_rows(numbers_P: Array, this_P: Indices, num_rows: int) -> Numbers:
    numbers_R = np.full(num_rows, np.nan)
    numbers_R[this_P] = numbers_P
    return [number if math.isfinite(number) else None for number in numbers_R.tolist()]
