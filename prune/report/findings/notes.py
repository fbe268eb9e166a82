"""Warnings to read before believing a report: plain sentences, the most important first."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

from prune.cell.result import CellResult
from prune.config.data import SAMPLE_NOTE
from prune.messages.words import count
from prune.report.format import names
from prune.report.model import Metric
from prune.report.results.join import Joined
from prune.report.results.read import Found

MAX_NAMES = 5
"""In the lists of a sentence."""
_names = partial(names, most=MAX_NAMES)


def notes(
    found: Found, joined: Joined, metrics: Sequence[Metric], baseline: str, pairs_all: bool, item_problems: Sequence[str]
) -> list[str]:
    """The warnings.

    Args:
        baseline: the label of the baseline; empty without one.
        pairs_all: whether all rows were compared item by item.
        item_problems: problems of files of items.
    """
    return [
        *(f"{problem}." for problem in found.damaged),
        *_unusable(found),
        *_items(item_problems),
        *_unfinished(found),
        *_repeated(found),
        *_missing_metrics(found.results, metrics),
        *_baseline(joined, baseline),
        *_seeds(found.results, joined),
        *_mixed(found.results),
        *_shared_items(found.results),
        *_of_cells(found.results, metrics),
        *([] if pairs_all else [_UNPAIRED]),
    ]


HOW = (
    "Draws: each seed or calib.draw draws the calibration data anew. The noise of a difference includes the spread over the "
    "draws of both sides, estimated for each side separately. The test is a t test; for few draws it has fewer degrees of "
    "freedom than Welch's, which finds too many differences there.",
    "Items: both sides answer the same items, so their scores are compared item by item (paired t test). Items that share a "
    "premise or passage count as one item. Variation in a draw's answers, which is part of both noises, is counted once.",
    "One draw: only the noise of the items is known; p cannot tell a data set from its draw, and its star is in brackets.",
    "Families: the rows of one group on one metric against the baseline form one family, those against dense another, and "
    "the contrasts of one question on one kind of metric a third. Holm's method adjusts p and intervals within each family: "
    "at most 5 of 100 families without any difference show one. Nothing is adjusted across families, so a page with many "
    "families shows some false stars.",
    "The best against the runner-up is one comparison and is not adjusted: it tests whether the best beats all others.",
    "Where all answers are alike, the interval is that of one other answer on each side: no interval is a point. Losses "
    "that are all alike have no interval.",
)
"""How intervals and p values are made."""

_UNPAIRED = (
    "There are too many cells to read all items: only the best rows are compared item by item. The other intervals come "
    "from the standard errors of both sides and are wider."
)


_WITHOUT_ITEMS = (
    "Scores whose items cannot be used are compared by standard errors, with less power. "
    "To measure such a score again, remove its file from the cell's folder scores/ and run the same line again."
)


def _unusable(found: Found) -> list[str]:
    damaged = [cell.reason for cell in found.unfinished if cell.state in ("corrupt", "schema")]
    return [f"{count(len(damaged), 'result')} skipped: {'; '.join(damaged[:MAX_NAMES])}."] if damaged else []


def _items(problems: Sequence[str]) -> list[str]:
    """A sentence for each file, and one on the comparisons without it."""
    shown = [f"{problem}." for problem in problems[:MAX_NAMES]]
    more = [f"{count(len(problems) - MAX_NAMES, 'more file')} of items cannot be used."] if len(problems) > MAX_NAMES else []
    return [*shown, *more, _WITHOUT_ITEMS] if problems else []


def _unfinished(found: Found) -> list[str]:
    cells = [cell for cell in found.unfinished if cell.state not in ("corrupt", "schema", "not applicable")]
    if not cells:
        return []
    counts = ", ".join(f"{number} {state}" for state, number in Counter(cell.state for cell in cells).items())
    num_all = len(cells) + len(found.results)
    listed = _names([cell.name or cell.id for cell in cells])
    return [f"No result of {len(cells)} of {count(num_all, 'cell')} ({counts}): {listed}. Means do not include them."]


def _repeated(found: Found) -> list[str]:
    if not found.repeated:
        return []
    return [
        f"{count(len(found.repeated), 'result')} left out, because another draw gave the same calibration set, which counts "
        f"once: {_names(found.repeated)}."
    ]


def _missing_metrics(results: Sequence[CellResult], metrics: Sequence[Metric]) -> list[str]:
    found = []
    for metric in metrics:
        lacking = [result.name for result in results if metric.name not in result.scores]
        if lacking:
            found.append(
                f"{metric.name} was not measured in {len(lacking)} of {count(len(results), 'cell')}: {_names(lacking)}."
            )
    return found


def _baseline(joined: Joined, baseline: str) -> list[str]:
    known = list(dict.fromkeys(row.label for row in joined.rows if row.calib is not None))
    if not baseline:
        there = f"Choose one with --baseline: {_names(known)}" if known else "No cell has calibration data"
        return [f"There is no baseline: c4 is not in the data. {there}."]
    without = [
        group.label
        for group in joined.groups
        if group.baseline_row is None and any(joined.rows[row].calib is not None for row in group.rows)
    ]
    return [f"{count(len(without), 'group')} without the baseline {baseline}: {_names(without)}."] if without else []


def _seeds(results: Sequence[CellResult], joined: Joined) -> list[str]:
    seeded = [row for row in joined.rows if results[row.cells[0]].axes["seed"] is not None]
    single = [row for row in seeded if len(row.cells) == 1]
    if not single:
        return []
    if len(single) == len(seeded):
        return [
            "Every row has one draw only: intervals include the noise of the items, not of the draws. One draw cannot "
            "tell a data set from its draw."
        ]
    return [f"{len(single)} of {len(seeded)} rows have one draw only: the noise of their draws is unknown."]


def circumstances(results: Sequence[CellResult]) -> dict[str, list[str]]:
    """Circumstances that may move a score and differ among the cells: `device` -> the GPUs, `torch` -> its versions."""
    seen = [result.provenance for result in results]
    packages = dict.fromkeys(name for one in seen for name in one.get("versions") or {})
    values = {
        "device": {str(one.get("gpu") or one["device"]) for one in seen if one.get("device")},
        **{package: {str((one.get("versions") or {}).get(package, "none")) for one in seen} for package in packages},
        "commit of prune": {str(one["git"])[:12] for one in seen if one.get("git")},
    }
    return {name: sorted(several) for name, several in values.items() if len(several) > 1}


def _mixed(results: Sequence[CellResult]) -> list[str]:
    """A sentence for each circumstance that the cells do not share."""
    words = {"device": "kinds of device", "commit of prune": "commits of prune"}
    return [
        f"Cells ran with {len(values)} {words.get(name, f'versions of {name}')}: {_names(values)}."
        for name, values in circumstances(results).items()
    ]


def not_alike(results: Sequence[CellResult]) -> str:
    """The sentence for a verdict whose cells ran in different circumstances; empty otherwise."""
    found = [f"{name} ({_names(values)})" for name, values in circumstances(results).items()]
    return f"The compared cells differ in {', '.join(found)}." if found else ""


def _shared_items(results: Sequence[CellResult]) -> list[str]:
    sharing = sum(bool(result.overlap) for result in results)
    return [f"In {count(sharing, 'cell')}, scored items share text with the calibration set."] if sharing else []


def _of_cells(results: Sequence[CellResult], metrics: Sequence[Metric]) -> list[str]:
    """The cells' own warnings but those that the report gives elsewhere: sample data, and shared items by metric."""
    names = tuple(f"{metric.name}: " for metric in metrics)
    counts = Counter(
        warning
        for result in results
        for warning in result.warnings
        if warning != SAMPLE_NOTE and not warning.startswith(names)
    )
    return [f"{warning} ({number} cells)" if number > 1 else warning for warning, number in counts.most_common(MAX_NAMES)]
