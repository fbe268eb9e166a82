"""Calibration sets against a reference on the mean of some scores: the marks of the picture at a glance.

A draw of a calibration set is one unit: all of its scores, in all groups of the model, are averaged into one number, and two
sets' draws are compared as two rows are (draws.py). All sets of a panel are averaged over the same scores, chosen so that as
many sets as possible have two draws of them. A mean leaves out scores on sets that the set or the reference was calibrated
on, which its mark names; a set that lacks a score is named beside the panel.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from prune.cell.result import CellResult
from prune.data.dataset import Category
from prune.report.compare.statistics import ALPHA, holm_factors, t_comparison
from prune.report.findings.draws import Balanced, Compared, Draw, Stratum, choices, compare_sides, draws_with, has_two_draws
from prune.report.findings.evidence import effect
from prune.report.format import names
from prune.report.model import Metric
from prune.report.model_findings import Mark, Noise, Panel
from prune.report.numbers import OF_DRAWS, Array, Basis
from prune.report.results.items import ItemsOfRows
from prune.report.results.join import Joined, category_of

TOO_FEW, NOT_SCORED = "too few draws there", "not scored for all of the sets"
"""Why an average leaves a group or a score out."""


@dataclass(frozen=True, slots=True)
class Side:
    """One calibration set and prompt, in some groups."""

    label: str
    draws: dict[Draw, dict[Stratum, int]] = field(default_factory=dict)
    sets: frozenset[str] = frozenset()
    category: str = "other"
    is_reversed: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """The sides of some groups of one model."""

    group: int | None
    """None: all of the model's."""
    reference: Side
    sides: Sequence[Side]
    labels: Mapping[int, str]
    """Group -> its label."""
    choices: Collection[frozenset[Stratum]]
    """Sets of scores on which the reference and a side can be compared."""

    def claims(self, strata: Collection[Stratum]) -> int:
        """How many sides have two draws of all these scores, where the reference has two: a claim needs both."""
        if not has_two_draws(self.reference.draws, strata):
            return 0
        return sum(has_two_draws(side.draws, strata) for side in self.sides if not side.is_reversed)


def collect(
    groups: Sequence[int], results: Sequence[CellResult], joined: Joined, *, by_dense: bool, group: int | None = None
) -> Field | None:
    """The rows of the groups by label, and the reference; None where no group has one.

    Args:
        group: the single group, where it is one.
        by_dense: whether the reference is the dense model; else it is the groups' baseline row.
    """
    sides: dict[str, Side] = {}
    reference: Side | None = None
    for index in groups:
        of_group = joined.groups[index]
        other = of_group.dense_row if by_dense else of_group.baseline_row
        if other is None:
            continue
        reference = reference or Side("dense" if by_dense else joined.rows[other].label, sets=joined.rows[other].sets)
        _add(reference, index, joined.rows[other].cells, results)
        for row in (joined.rows[place] for place in of_group.rows if place != other):
            if row.calib is not None:
                category = Category.MIXTURE.value if len(row.sets) > 1 else category_of(row.calib, joined.categories)
                side = sides.setdefault(row.label, Side(row.label, {}, row.sets, category, row.is_reversed))
                _add(side, index, row.cells, results)
    labels = {index: joined.groups[index].label for index in groups}
    if reference is None:
        return None
    comparable = dict.fromkeys(chain(*(choices([reference.draws, side.draws]) for side in sides.values())))
    return Field(group, reference, list(sides.values()), labels, comparable)


def _add(side: Side, group: int, cells: Iterable[int], results: Sequence[CellResult]) -> None:
    for cell in cells:
        measured = {(group, "", metric): cell for metric in results[cell].scores}
        side.draws.setdefault(results[cell].draw, {}).update(measured)


@dataclass(frozen=True, slots=True)
class Raw:
    """A panel whose p values are not adjusted yet."""

    ability: int | None
    metric: int | None
    group: int | None
    first: Metric
    """One of the averaged metrics."""
    unit: str
    decimals: int
    num_scores: int
    sides: Sequence[Side]
    """The compared sides, P."""
    left_out: Sequence[Sequence[str]]
    num_draws: Sequence[int]
    reference_draws: int
    compared: Compared | None
    without: Sequence[tuple[Side, Sequence[str]]]
    """Sides whose scores are all on sets of their own."""
    incomplete: Sequence[str]
    left_out_places: Sequence[str]

    def claims(self) -> NDArray[np.bool_]:
        """Which comparisons support a claim on sets: those of two draws or more, but not of rounding. Shape (P,)."""
        bases = [] if self.compared is None else self.compared.pairs.basis_P.tolist()
        return np.array([b in OF_DRAWS and not s.is_reversed for b, s in zip(bases, self.sides, strict=True)], dtype=bool)


def measure(
    of_field: Field,
    metrics: Sequence[Metric],
    results: Sequence[CellResult],
    items: ItemsOfRows | None,
    *,
    unit: str,
    decimals: int,
    ability: int | None = None,
    metric: int | None = None,
) -> Raw | None:
    """All sides against the reference on the mean of the metrics; None where the two share no score."""
    set_of = {each.name: each.dataset for each in metrics}
    known = frozenset(s for strata in of_field.reference.draws.values() for s in strata if s[2] in set_of)
    strata = _shared_strata(of_field, known)
    if not strata:
        return None
    compared, without, incomplete = [], [], []
    for side in of_field.sides:
        own = side.sets | of_field.reference.sets
        left_out = [name for name, dataset in set_of.items() if dataset in own]
        kept = [stratum for stratum in strata if metric is not None or set_of[stratum[2]] not in own]
        sides = [draws_with(each.draws, kept or strata) for each in (side, of_field.reference)]
        if not all(draws_with(each.draws, strata) for each in (side, of_field.reference)):
            incomplete.append(side.label)
        elif not kept:
            without.append((side, left_out))
        else:
            compared.append((side, left_out, Balanced(kept, sides)))
    found = compare_sides([balanced for _, _, balanced in compared], results, items) if compared else None
    return Raw(
        ability=ability,
        metric=metric,
        group=of_field.group,
        first=metrics[0],
        unit=unit,
        decimals=decimals,
        num_scores=len(strata),
        sides=[side for side, _, _ in compared],
        left_out=[left_out for _, left_out, _ in compared],
        num_draws=[len(balanced.sides[0]) for _, _, balanced in compared],
        reference_draws=min((len(balanced.sides[1]) for _, _, balanced in compared), default=0),
        compared=found,
        without=without,
        incomplete=incomplete,
        left_out_places=_left_out(of_field, known, strata),
    )


def _shared_strata(of_field: Field, known: frozenset[Stratum]) -> list[Stratum]:
    """The scores that all sides are averaged over: those with which most sides have two draws of most scores.

    Where no side has two draws of anything: those that most sides have most of.
    """
    found = dict.fromkeys(choice & known for choice in of_field.choices if choice & known)

    def worth(strata: Collection[Stratum]) -> tuple[float, float, float]:
        claims, there = of_field.claims(strata), sum(bool(draws_with(side.draws, strata)) for side in of_field.sides)
        return len(strata) * claims, claims / max(1, there), len(strata) * there

    best = max(found, key=worth, default=known)
    return sorted(best)


def _left_out(of_field: Field, known: frozenset[Stratum], strata: Sequence[Stratum]) -> list[str]:
    """`Averaged without tiny wanda 50%: too few draws there.`, a sentence for each reason to leave out groups or scores."""
    shown_groups = {group for group, _, _ in strata}
    averaged = [side for side in of_field.sides if draws_with(side.draws, strata)]
    places: dict[str, dict[str, None]] = {}
    for group, rest, metric in sorted(known.difference(strata)):
        label = of_field.labels[group]
        name = label if group not in shown_groups else f"{metric} of {label}" if len(of_field.labels) > 1 else metric
        is_scored = all(draws_with(side.draws, [(group, rest, metric)]) for side in averaged)
        places.setdefault(TOO_FEW if is_scored else NOT_SCORED, {})[name] = None
    return [f"Averaged without {names(list(each))}: {reason}." for reason, each in places.items()]


def finish(raws: Sequence[Raw], *, together: bool) -> list[Panel]:
    """The panels with p and intervals by Holm, over each panel or over all of them `together`.

    Comparisons that know the draws are one family, those that know the items only another.
    """
    families = [[*raws]] if together and raws else [[raw] for raw in raws]
    return [panel for family in families for panel in _family(family, is_headline=together)]


def _family(raws: Sequence[Raw], *, is_headline: bool) -> list[Panel]:
    p_P = np.concatenate([raw.compared.pairs.p_P if raw.compared else np.zeros(0) for raw in raws])
    counts_P = np.concatenate([raw.claims() for raw in raws])
    factors_P = np.full(len(p_P), 1.0)
    for part_P in (counts_P, ~counts_P):
        factors_P[part_P] = holm_factors(p_P[part_P])
    ends = np.cumsum([len(raw.sides) for raw in raws])
    parts = np.split(factors_P, ends[:-1])
    number = int(counts_P.sum()) or len(p_P)
    return [_panel(raw, part, number, is_headline) for raw, part in zip(raws, parts, strict=True)]


def _panel(raw: Raw, factors_P: Array, family: int, is_headline: bool) -> Panel:
    marks = _marks(raw, factors_P)
    marks.sort(key=lambda mark: mark.effect or 0.0, reverse=raw.first.higher_is_better)
    without = [_empty_mark(side, left_out) for side, left_out in raw.without]
    return Panel(
        ability=raw.ability,
        metric=raw.metric,
        group=raw.group,
        unit=raw.unit,
        higher_is_better=raw.first.higher_is_better,
        decimals=raw.decimals,
        num_scores=raw.num_scores,
        family=family,
        is_headline=is_headline,
        marks=[*marks, *without],
        incomplete=raw.incomplete,
        left_out=raw.left_out_places,
        reference_draws=raw.reference_draws,
        noise=_noise(raw, marks),
    )


def _marks(raw: Raw, factors_P: Array) -> list[Mark]:
    if raw.compared is None:
        return []
    pairs = raw.compared.pairs
    low_P, high_P, _ = t_comparison(pairs.difference_P, pairs.variance_P, pairs.df_P, factors_P)
    p_P = np.minimum(1.0, factors_P * pairs.p_P)
    numbers = [array.tolist() for array in (pairs.difference_P, low_P, high_P, p_P, pairs.basis_P)]
    return [
        Mark(
            label=side.label,
            category=side.category,
            effect=effect(difference, raw.first),
            low=None if math.isnan(low) else effect(low, raw.first),
            high=None if math.isnan(high) else effect(high, raw.first),
            p=None if math.isnan(p) else p,
            basis=int(basis),
            stand=_stand(difference, p, raw.first),
            num_draws=num_draws,
            left_out=left_out,
            is_rounding=side.is_reversed,
        )
        for side, left_out, num_draws, difference, low, high, p, basis in zip(
            raw.sides, raw.left_out, raw.num_draws, *numbers, strict=True
        )
    ]


def _stand(difference: float, p: float, first: Metric) -> str:
    if not p < ALPHA:
        return ""
    return "better" if (difference > 0) == first.higher_is_better else "worse"


def _empty_mark(side: Side, left_out: Sequence[str]) -> Mark:
    return Mark(
        label=side.label,
        category=side.category,
        effect=None,
        low=None,
        high=None,
        p=None,
        basis=int(Basis.NONE),
        stand="",
        num_draws=len(side.draws),
        left_out=left_out,
        is_rounding=side.is_reversed,
    )


def _noise(raw: Raw, marks: Sequence[Mark]) -> Noise:
    """The median noise over the panel's comparisons."""
    if raw.compared is None:
        return Noise(draws=None, items=None, rounding=None)
    rounding = [abs(mark.effect) for mark in marks if mark.is_rounding and mark.effect is not None]
    draws, items = (_middle(variance_P, raw.first) for variance_P in (raw.compared.draw_var_P, raw.compared.item_var_P))
    return Noise(draws=draws, items=items, rounding=max(rounding, default=None))


def _middle(variance_P: Array, first: Metric) -> float | None:
    known = variance_P[~np.isnan(variance_P)]
    return effect(float(np.sqrt(np.median(known))), first) if len(known) else None
