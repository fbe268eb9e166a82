"""Which calibration data and prompt win, for each group and metric, and whether by more than noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prune.report.compare.compare import Column, Items, compare_pairs, intervals
from prune.report.compare.statistics import ALPHA
from prune.report.format import format_p, format_value
from prune.report.model import Basis, Comparison, Comparisons, Metric, RowMetric, Verdict
from prune.report.results.join import Joined

MAX_SENTENCE = 250
"""Characters."""


@dataclass(frozen=True, slots=True)
class _Contest:
    """The rows of one group on one metric, before they are compared."""

    group: int
    best: int
    ties: Sequence[int]
    runner_up: int
    baseline: int | None
    num_rows: int


def best_rows(column: Column, joined: Joined) -> set[int]:
    """The rows that win, as judge will find them."""
    return {contest.best for contest in _contests(column, joined)}


def judge(index: int, metric: Metric, column: Column, rows: RowMetric, joined: Joined, items: Items | None) -> list[Verdict]:
    """The verdicts on one metric, for the groups where two rows or more with calibration data have it.

    The best against the baseline is the row's own comparison: p and interval hold for the best of the group's rows, because
    they hold for all of them at once (Holm). The best against the runner-up is tested without correction: that the best of
    several is better than all others is tested by its comparison with the second alone (Gutmann and Maymin 1987).

    Args:
        index: the metric's, in the report.
        rows: its comparisons with the baseline.
        items: for comparing the best with the runner-up on its items; None compares by standard errors.
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
            sentence=_sentence(metric, column, contest, baseline, second, joined),
        )
        for contest, second in zip(contests, to_second, strict=True)
        for baseline in [_to_baseline(contest, rows.to_baseline)]
    ]


def _contests(column: Column, joined: Joined) -> list[_Contest]:
    return [contest for group in range(len(joined.groups)) if (contest := _contest(group, column, joined))]


def _contest(group: int, column: Column, joined: Joined) -> _Contest | None:
    means = column.known_means([row for row in joined.groups[group].rows if joined.rows[row].calib is not None])
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


def _sentence(
    metric: Metric, column: Column, contest: _Contest, baseline: Comparison | None, second: Comparison | None, joined: Joined
) -> str:
    label = joined.rows[contest.best].label
    value = format_value(metric.decimals, _mean(column, contest.best))
    if contest.ties:
        shared = [label, *(joined.rows[row].label for row in contest.ties)]
        last = shared[-1] if len(shared) < 4 else f"{len(shared) - 3} more"
        names = f"{', '.join(shared[: min(3, len(shared) - 1)])} and {last}"
        head = f"{names} share the best {metric.name}, {value}"
    else:
        head = f"{label} is best on {metric.name} with {value}"
    parts = []
    if baseline is not None:
        parts.append(f"{_better(metric, baseline, joined)} the baseline {joined.rows[baseline.row].label}")
    elif joined.groups[contest.group].baseline_row in (contest.best, *contest.ties):
        head += " (baseline)" if joined.groups[contest.group].baseline_row == contest.best else ""
    if second is not None and not contest.ties and (baseline is None or baseline.row != second.row):
        parts.append(f"{_better(metric, second, joined)} the runner-up {joined.rows[second.row].label}")
    text, notes = "; ".join([head, *parts]) + ".", _own_set_note(metric, contest, joined) + _seed_note(baseline, second)
    room = MAX_SENTENCE - len(notes)  # what is to be known of the numbers is never cut
    return (text if len(text) <= room else text[: max(room - 1, 0)] + "…") + notes


def _better(metric: Metric, comparison: Comparison, joined: Joined) -> str:
    """`0.020 (p 0.03, beyond noise) better than`."""
    size = format_value(metric.decimals, abs(comparison.difference))
    if comparison.p is None:
        return f"{size} (noise unknown) better than"
    word = "beyond noise" if comparison.beyond_noise else "within noise"
    return f"{size} ({word}, p {format_p(comparison.p)}) better than"


def _own_set_note(metric: Metric, contest: _Contest, joined: Joined) -> str:
    """What is said where a row that won was calibrated on the set that the metric is measured on."""
    is_own = any(joined.rows[row].calib == metric.dataset for row in (contest.best, *contest.ties))
    return f" {metric.dataset if contest.ties else 'It'} was calibrated on the set that is measured." if is_own else ""


def _seed_note(*comparisons: Comparison | None) -> str:
    bases = {comparison.basis for comparison in comparisons if comparison is not None}
    return " One draw: it cannot tell a data set from its draw." if bases & {Basis.NONE, Basis.ITEMS, Basis.STDERR} else ""


def _mean(column: Column, row: int) -> float:
    mean = float(column.mean_R[row])
    return float(np.exp(mean)) if column.is_log else mean
