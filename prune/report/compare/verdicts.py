"""The best calibration data and prompt of each group and metric, and whether they lead by more than noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prune.report.compare.compare import Column, Items, compare_pairs, intervals
from prune.report.compare.statistics import ALPHA
from prune.report.model import Comparison, Comparisons, RowMetric, Verdict
from prune.report.results.join import Joined


@dataclass(frozen=True, slots=True)
class _Contest:
    """The rows of one group on one metric, ranked but not compared yet."""

    group: int
    best: int
    ties: Sequence[int]
    runner_up: int
    baseline: int | None
    num_rows: int


def best_rows(column: Column, joined: Joined) -> set[int]:
    """The best row of each group, as `judge` finds it."""
    return {contest.best for contest in _contests(column, joined)}


def judge(index: int, column: Column, rows: RowMetric, joined: Joined, items: Items | None) -> list[Verdict]:
    """The verdicts on one metric, for the groups where two rows or more with calibration data have it.

    The best against the baseline is that row's own comparison: Holm's p and interval hold for all rows of the group at once,
    so also for the best. The best against the runner-up needs no correction: whether the best of several is better than all
    others is tested by its comparison with the second alone (Gutmann and Maymin 1987). Rows that show rounding never win.

    Args:
        index: of the metric in the report.
        rows: the metric's comparisons with the baseline.
        items: the items on which the best is compared with the runner-up; None compares by standard errors.
    """
    contests = _contests(column, joined)
    to_second = _to_runner_up(column, contests, items)
    return [
        Verdict(
            group=contest.group,
            metric=index,
            best=contest.best,
            ties=contest.ties,
            baseline=baseline,
            runner_up=second,
            num_rows=contest.num_rows,
            note="",
        )
        for contest, second in zip(contests, to_second, strict=True)
        for baseline in [_to_baseline(contest, rows.to_baseline)]
    ]


def _contests(column: Column, joined: Joined) -> list[_Contest]:
    return [contest for group in range(len(joined.groups)) if (contest := _contest(group, column, joined))]


def _contest(group: int, column: Column, joined: Joined) -> _Contest | None:
    competing = [row for row in joined.groups[group].rows if joined.rows[row].calib and not joined.rows[row].is_reversed]
    means = column.known_means(competing)
    if len(means) < 2:
        return None
    order = sorted(means, key=lambda row: means[row], reverse=column.higher_is_better)
    best = order[0]
    ties = [row for row in order[1:] if means[row] == means[best]]
    baseline = joined.groups[group].baseline_row
    compared = baseline if baseline in means and baseline != best else None
    return _Contest(group, best, tuple(ties), order[1], compared, len(means))


def _to_baseline(contest: _Contest, compared: Comparisons) -> Comparison | None:
    difference = None if contest.baseline is None else compared.difference[contest.best]
    if contest.baseline is None or difference is None:
        return None
    best = contest.best
    return _comparison(
        contest.baseline, difference, compared.low[best], compared.high[best], compared.p[best], compared.basis[best]
    )


def _to_runner_up(column: Column, contests: Sequence[_Contest], items: Items | None) -> list[Comparison]:
    best_P = np.array([contest.best for contest in contests], dtype=np.int64)
    second_P = np.array([contest.runner_up for contest in contests], dtype=np.int64)
    pairs = compare_pairs(column, best_P, second_P, items)
    columns = [*intervals(column, pairs, second_P, np.ones(len(contests))), pairs.p_P]
    numbers = [[number if math.isfinite(number) else None for number in numbers_P.tolist()] for numbers_P in columns]
    return [
        _comparison(contest.runner_up, difference or 0.0, low, high, p, int(basis))
        for contest, difference, low, high, p, basis in zip(contests, *numbers, pairs.basis_P, strict=True)
    ]


def _comparison(
    other: int, difference: float, low: float | None, high: float | None, p: float | None, basis: int
) -> Comparison:
    beyond_noise = None if p is None else p < ALPHA
    return Comparison(row=other, difference=difference, low=low, high=high, p=p, basis=basis, beyond_noise=beyond_noise)
