"""Which calibration data and prompt win, for each group and metric, and whether by more than noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prune.report.compare.compare import Column, Pairs, compare_pairs
from prune.report.compare.statistics import ALPHA
from prune.report.format import format_p, format_value
from prune.report.model import Basis, Comparison, Metric, RowMetric, Verdict
from prune.report.results.items import ItemsOfRows
from prune.report.results.join import Joined

MAX_SENTENCE = 250
"""Characters."""


@dataclass(frozen=True, slots=True)
class _Contest:
    """The rows of one group on one metric, before they are compared."""

    group: int
    best: int
    ties: Sequence[int]
    runner_up: int | None
    baseline: int | None
    num_rows: int


def judge(
    index: int, metric: Metric, column: Column, rows: RowMetric, joined: Joined, items: ItemsOfRows | None
) -> list[Verdict]:
    """The verdicts on one metric, for the groups where two rows or more with calibration data have it.

    The best against the runner-up is tested without correction: that the best of several is better than all others is
    tested by its comparison with the second alone (Gutmann and Maymin 1987). Against the baseline p is Holm's over the rows
    of the group, or where only the best was compared on its items, p times the number of rows, which is no smaller.

    Args:
        index: the metric's, in the report.
        rows: its comparisons, for the p adjusted by Holm where those used items.
        items: for comparing the best on its items; None compares by standard errors.
    """
    contests = [contest for group in range(len(joined.groups)) if (contest := _contest(group, column, joined))]
    to_baseline = _compare(column, [(c.best, c.baseline) for c in contests], items)
    to_second = _compare(column, [(c.best, c.runner_up) for c in contests], items)
    verdicts = []
    for contest, baseline, second in zip(contests, to_baseline, to_second, strict=True):
        adjusted = None if baseline is None else _adjust(baseline, contest, rows)
        sentence = _sentence(metric, column, contest, adjusted, second, joined)
        verdicts.append(
            Verdict(
                group=contest.group,
                metric=index,
                best=contest.best,
                ties=contest.ties,
                baseline=adjusted,
                runner_up=second,
                num_rows=contest.num_rows,
                sentence=sentence,
            )
        )
    return verdicts


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


def _compare(column: Column, pairs: Sequence[tuple[int, int | None]], items: ItemsOfRows | None) -> list[Comparison | None]:
    compared = [(this, other) for this, other in pairs if other is not None]
    this_P = np.array([this for this, _ in compared], dtype=np.int64)
    other_P = np.array([other for _, other in compared], dtype=np.int64)
    found = compare_pairs(column, this_P, other_P, items)
    comparisons = iter([_comparison(found, place, other) for place, (_, other) in enumerate(compared)])
    return [None if other is None else next(comparisons) for _, other in pairs]


def _comparison(pairs: Pairs, place: int, other: int) -> Comparison:
    basis = int(pairs.basis_P[place])
    known = basis != Basis.NONE
    p = float(pairs.p_P[place]) if known else None
    return Comparison(
        row=other,
        difference=float(pairs.difference_P[place]),
        low=float(pairs.low_P[place]) if known else None,
        high=float(pairs.high_P[place]) if known else None,
        p=p,
        basis=basis,
        beyond_noise=None if p is None else p < ALPHA,
    )


def _adjust(comparison: Comparison, contest: _Contest, rows: RowMetric) -> Comparison:
    """The comparison with the baseline, its p adjusted for the other rows that were compared with it."""
    if comparison.p is None:
        return comparison
    same = rows.to_baseline.basis[contest.best] == comparison.basis
    holm_p = rows.to_baseline.p[contest.best] if same else None
    p = min(1.0, comparison.p * (contest.num_rows - 1)) if holm_p is None else holm_p
    return Comparison(
        row=comparison.row,
        difference=comparison.difference,
        low=comparison.low,
        high=comparison.high,
        p=p,
        basis=comparison.basis,
        beyond_noise=p < ALPHA,
    )


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
    text = "; ".join([head, *parts]) + "." + _seed_note(baseline, second)
    return text if len(text) <= MAX_SENTENCE else text[: MAX_SENTENCE - 1] + "…"


def _better(metric: Metric, comparison: Comparison, joined: Joined) -> str:
    """`0.020 (p 0.03, beyond noise) better than`."""
    size = format_value(metric.decimals, abs(comparison.difference))
    if comparison.p is None:
        return f"{size} (noise unknown) better than"
    word = "beyond noise" if comparison.beyond_noise else "within noise"
    return f"{size} ({word}, p {format_p(comparison.p)}) better than"


def _seed_note(*comparisons: Comparison | None) -> str:
    bases = {comparison.basis for comparison in comparisons if comparison is not None}
    return " One seed: seed noise is unknown." if bases & {Basis.NONE, Basis.ITEMS, Basis.STDERR} else ""


def _mean(column: Column, row: int) -> float:
    mean = float(column.mean_R[row])
    return float(np.exp(mean)) if column.is_log else mean
