"""What to calibrate on, for each model: one sentence, how sure it is, and the panels of the picture.

The sentence speaks of at most two abilities: questions, in bits per byte where there are any, and language modelling. All
comparisons of sets on them are one family (Holm): of 100 reports on sets that do not differ, at most 5 claim a difference.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

from prune.cell.result import CellResult
from prune.messages.words import count
from prune.report.findings.abilities import QUESTIONS, find_abilities, headline
from prune.report.findings.panels import Field, Raw, collect, finish, measure
from prune.report.format import format_p, format_value, names
from prune.report.model import Metric
from prune.report.model_findings import Ability, Glance, Mark, Panel
from prune.report.numbers import OF_DRAWS
from prune.report.results.items import ItemsOfRows
from prune.report.results.join import Joined, JoinedRow

MAX_GROUPS = 24
"""Up to so many groups of all models, the picture also shows single groups."""
MAX_GROUPS_OF_SCORES = 100
"""Up to so many, also single scores."""
TOO_FEW, OWN_SETS, ALIKE = "too few draws", "all scores are on sets that either side was calibrated on", "draws all alike"
NOT_SCORED = "not scored on all of it"
"""Why nothing is claimed of a set."""


def find_glances(
    metrics: Sequence[Metric], results: Sequence[CellResult], joined: Joined, items: ItemsOfRows | None, part: str = ""
) -> list[Glance]:
    """A glance for each model that was pruned with calibration data."""
    by_model: dict[str, list[int]] = {}
    for index, group in enumerate(joined.groups):
        if any(joined.rows[row].calib is not None for row in group.rows):
            by_model.setdefault(group.model, []).append(index)
    shows_groups = len(joined.groups) <= MAX_GROUPS
    maker = _Maker(metrics, find_abilities(metrics), results, joined, items)
    return [maker.glance(model, groups, part, shows_groups) for model, groups in by_model.items()]


@dataclass(frozen=True, slots=True)
class _Maker:
    metrics: Sequence[Metric]
    abilities: Sequence[Ability]
    results: Sequence[CellResult]
    joined: Joined
    items: ItemsOfRows | None

    def glance(self, model: str, groups: Sequence[int], part: str, shows_groups: bool) -> Glance:
        """The glance of a model on its groups."""
        has_baseline = any(self.joined.groups[group].baseline_row is not None for group in groups)
        groups = [group for group in groups if len(self._rows(group)) > 1] or groups
        whole = collect(groups, self.results, self.joined, by_dense=not has_baseline)
        reference = "" if whole is None else whole.reference.label
        panels = [] if whole is None else self._panels(whole)
        for group in groups if shows_groups and len(groups) > 1 else ():
            of_group = collect([group], self.results, self.joined, by_dense=not has_baseline, group=group)
            raws = [] if of_group is None else self._of_abilities(of_group, range(len(self.abilities)))
            panels += finish(raws, together=False)
        labels = {row.label for group in groups for row in self._rows(group) if not row.is_reversed}
        told = Told(self.abilities, [panel for panel in panels if panel.is_headline], reference, labels)
        return Glance(
            model=model,
            part=part,
            reference=reference,
            sentence=told.sentence() if has_baseline else told.without_baseline(),
            details=told.details() if has_baseline else [],
            groups=groups,
            panels=panels,
        )

    def _rows(self, group: int) -> list[JoinedRow]:
        return [row for row in map(self.joined.rows.__getitem__, self.joined.groups[group].rows) if row.calib is not None]

    def _panels(self, whole: Field) -> list[Panel]:
        """The panels over all groups: the headline's as one family, then each for itself."""
        first = headline(self.abilities)
        others = [index for index in range(len(self.abilities)) if index not in first]
        single = [
            measure(whole, [metric], self.results, self.items, metric=index, unit=of.unit, decimals=of.decimals)
            for of in self.abilities
            for index in of.metrics
            for metric in [self.metrics[index]]
            if of.name != QUESTIONS and len(self.joined.groups) <= MAX_GROUPS_OF_SCORES
        ]
        several = [raw for raw in single if raw is not None] if len(self.metrics) > 1 else []
        return [
            *finish(self._of_abilities(whole, first), together=True),
            *finish([*self._of_abilities(whole, others), *several], together=False),
        ]

    def _of_abilities(self, of_field: Field, indices: Sequence[int]) -> list[Raw]:
        made = [
            measure(
                of_field,
                [self.metrics[place] for place in self.abilities[index].metrics],
                self.results,
                self.items,
                ability=index,
                unit=self.abilities[index].unit,
                decimals=self.abilities[index].decimals,
            )
            for index in indices
        ]
        return [raw for raw in made if raw is not None]


@dataclass(frozen=True, slots=True)
class Told:
    """The headline's panels in words."""

    abilities: Sequence[Ability]
    panels: Sequence[Panel]
    reference: str
    labels: Set[str]
    """Labels of all rows with calibration data but those that show rounding."""

    def sentence(self) -> str:
        """What to calibrate on. A claim needs two draws of both sides and a difference beyond rounding."""
        if len(self.labels) < 2:
            return self._alone()
        if not self._claims():
            return self._undecided()
        if clear := self._clear():
            panel, mark = clear[0]
            return f"Calibrate on {mark.label}: {self._finding(panel, mark)}."
        better = self._better()
        return self._mixed(*better[0]) if better else self._nobody()

    def _alone(self) -> str:
        return f"Nothing to compare yet: {', '.join(self.labels)} is the only calibration set here."

    def _marks(self) -> list[tuple[Panel, Mark]]:
        return [(panel, mark) for panel in self.panels for mark in panel.marks if not mark.is_rounding]

    def _claims(self) -> list[tuple[Panel, Mark]]:
        """The comparisons that support a claim on sets."""
        return [(panel, mark) for panel, mark in self._marks() if _is_claim(mark)]

    def _compared(self) -> set[str]:
        """Labels of the sets of which a claim is supported."""
        return {mark.label for _, mark in self._claims()}

    def _better(self) -> list[tuple[Panel, Mark]]:
        """Of those the sets that are better by more than rounding."""
        return [(panel, mark) for panel, mark in self._claims() if mark.stand == "better" and _beyond_rounding(panel, mark)]

    def _worse(self) -> set[str]:
        """Labels of the sets that are worse on an ability."""
        return {mark.label for _, mark in self._marks() if _is_loss(mark)}

    def _clear(self) -> list[tuple[Panel, Mark]]:
        """Of the better ones those that are worse on no ability."""
        worse = self._worse()
        return [(panel, mark) for panel, mark in self._better() if mark.label not in worse]

    def _also(self) -> str:
        """The other better sets; the sentence names the first panel's best."""
        others = list(dict.fromkeys(mark.label for _, mark in self._clear()))[1:]
        beat = "beats" if len(others) == 1 else "beat"
        return f"{names(others)} {beat} {self.reference} too; which of these is best is not decided." if others else ""

    def _mixed(self, panel: Panel, mark: Mark) -> str:
        losses = [
            self._finding(*claim) for claim in self._claims() if (claim[1].label, claim[1].stand) == (mark.label, "worse")
        ]
        return f"It depends on what you need: {mark.label} is {self._finding(panel, mark)}, but {' and '.join(losses)}."

    def _nobody(self) -> str:
        told = "no other set was shown to be better"
        if self._worse() == self._compared():
            told = f"every compared set is worse beyond noise on {' or '.join(self._losses())}"
        return f"Stay with {self.reference}: {told} ({len(self._compared())} compared)."

    def _certainty(self) -> list[str]:
        """What may have been missed, and what is worse, unless the sentence says of all sets that they are."""
        if self._better():
            return [self._resolution()]
        if self._worse() == self._compared():
            return []
        parts = "; ".join(f"on {ability}: {names(labels)}" for ability, labels in self._losses().items())
        return [self._resolution(), f"Worse beyond noise {parts}." if parts else ""]

    def _losses(self) -> dict[str, list[str]]:
        """By ability the labels of the sets that are worse."""
        found = {self._name(panel): sorted(mark.label for mark in panel.marks if _is_loss(mark)) for panel in self.panels}
        return {ability: labels for ability, labels in found.items() if labels}

    def _undecided(self) -> str:
        """The sentence where no comparison supports a claim: why not, and what to run."""
        reasons = list(dict.fromkeys(_lack(panel, mark) for panel, mark in self._marks()))
        if not reasons:
            return f"Not decided: no score was measured for both {self.reference} and another set."
        advice = f" Run two or more of {self.reference} and of each other set: calib.draw=0,1,2."
        return f"Not decided: {' and '.join(reasons)}.{advice if TOO_FEW in reasons else ''}"

    def without_baseline(self) -> str:
        """The sentence where the baseline is missing."""
        if len(self.labels) < 2:
            return self._alone()
        loss = " The picture shows what each set loses against the dense model." if self.reference else ""
        return f"Not decided: no c4 row to compare {len(self.labels)} sets with. Name another: --baseline SET.{loss}"

    def details(self) -> list[str]:
        """How sure the sentence is: the smallest difference to be seen, draws, comparisons, and what is left out."""
        marks = [mark for _, mark in self._marks()]
        if not marks:
            return []
        found = [self._also(), *self._certainty(), self._draws()]
        if claims := self._claims():
            found.append(f"Corrected for {count(len(claims), 'comparison')} (Holm).")
            found += self._not_decided()
        found += dict.fromkeys(sentence for panel in self.panels for sentence in panel.left_out)
        if any(mark.left_out for mark in marks):
            found.append("Without scores on a set that either side was calibrated on.")
        return [text for text in found if text]

    def _draws(self) -> str:
        own = sorted({panel.reference_draws for panel in self.panels if panel.reference_draws})
        others = sorted({mark.num_draws for _, mark in self._marks()})
        if own in ([], others):
            return f"{_range(others)} of each set."
        return f"{_range(own)} of {self.reference}, {_range(others)} of each other set."

    def _not_decided(self) -> list[str]:
        """The sets on which nothing is decided, by reason, each with the abilities that it is said of."""
        found: dict[str, list[str]] = {}
        for panel in self.panels:
            marks = [mark for mark in panel.marks if not mark.is_rounding and not _is_claim(mark)]
            lacking = {mark.label: _lack(panel, mark) for mark in marks}
            lacking |= dict.fromkeys(self.labels & set(panel.incomplete), NOT_SCORED)
            for reason in dict.fromkeys(lacking.values()):
                labels = [label for label, of_label in lacking.items() if of_label == reason]
                found.setdefault(f"{names(labels)} ({reason})", []).append(self._name(panel))
        return [f"Not decided on {' and '.join(abilities)}: {sets}." for sets, abilities in found.items()]

    def _resolution(self) -> str:
        """The smallest difference to be seen: half the median interval of each panel, but no less than rounding."""
        sizes = [
            f"{_size(panel, max(halves[len(halves) // 2], panel.noise.rounding or 0.0))} on {self._name(panel)}"
            for panel in self.panels
            if (halves := sorted(map(_half, filter(_is_claim, panel.marks))))
        ]
        return f"These draws may miss differences below about {' and '.join(sizes)}."

    def _finding(self, panel: Panel, mark: Mark) -> str:
        """`0.051 bits per byte better than c4 on all questions (95 % interval 0.02 to 0.08, p 0.012)`."""
        assert mark.effect is not None and mark.low is not None and mark.high is not None and mark.p is not None
        low, high = sorted((abs(mark.low), abs(mark.high)))
        bounds = f"95 % interval {_number(panel, low)} to {_number(panel, high)}, p {format_p(mark.p)}"
        size = f"{_size(panel, abs(mark.effect))} {mark.stand} than {self.reference}"
        return f"{size} on {self._name(panel)} ({bounds})"

    def _name(self, panel: Panel) -> str:
        assert panel.ability is not None, "the headline is about abilities"
        return self.abilities[panel.ability].name


def _is_claim(mark: Mark) -> bool:
    return mark.basis in OF_DRAWS and not mark.is_rounding and mark.low is not None


def _is_loss(mark: Mark) -> bool:
    return _is_claim(mark) and mark.stand == "worse"


def _lack(panel: Panel, mark: Mark) -> str:
    """Why a comparison supports no claim."""
    if mark.effect is None:
        return OWN_SETS
    return TOO_FEW if min(mark.num_draws, panel.reference_draws) < 2 else ALIKE


def _half(mark: Mark) -> float:
    assert mark.low is not None and mark.high is not None, "only claims have been asked for"
    return (mark.high - mark.low) / 2


def _beyond_rounding(panel: Panel, mark: Mark) -> bool:
    return panel.noise.rounding is None or (mark.effect is not None and abs(mark.effect) > panel.noise.rounding)


def _size(panel: Panel, number: float) -> str:
    """`2.1 %`, `0.051 bits per byte`."""
    return f"{_number(panel, number)} {panel.unit}"


def _number(panel: Panel, number: float) -> str:
    return format_value(panel.decimals, number)


def _range(draws: Sequence[int]) -> str:
    return count(draws[0], "draw") if len(draws) == 1 else f"{draws[0]} to {draws[-1]} draws"
