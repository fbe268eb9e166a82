"""Scores of one kind, averaged for a question, and the answers of contrasts between them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from prune.cell.result import CellResult
from prune.eval.metric import ACCURACY
from prune.report.compare.statistics import ALPHA, Difference, holm_factors, paired_t, unpaired_t
from prune.report.format import format_p, format_value
from prune.report.model import Metric
from prune.report.model_findings import Answer
from prune.report.results.join import Joined

NOT_SHOWN, ALIKE = "no difference shown", "all alike"
"""Outcomes: p of 0.05 or more, and equal differences, which have no noise to compare with."""

Measure = tuple[str, str, str, bool]
"""Kind, unit, scale and direction: only metrics that share all four are averaged."""


def measure_of(metric: Metric) -> Measure:
    """The four that a metric shares with those that it is averaged with."""
    return metric.kind, metric.unit, metric.scale, metric.higher_is_better


def effect_unit(metric: Metric) -> str:
    """The unit of a difference: `%` on the log scale, `points` of an accuracy, else the metric's own."""
    return "%" if metric.scale == "log" else "points" if metric.unit == ACCURACY else metric.unit


def effect(difference: float, metric: Metric) -> float:
    """A difference on the scale of comparison, in that unit."""
    if metric.scale == "log":
        return 100 * math.expm1(min(difference, 700.0))
    return 100 * difference if metric.unit == ACCURACY else difference


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two sides of a question on one kind of metric, in independent units."""

    name: str
    """`arithmetic - pre-training`."""
    category: str | None
    differences: Mapping[str, float]
    """Unit -> first side minus second, where units have both; else the first side's values."""
    others: Mapping[str, float] | None
    """Unit -> the second side's values, where the sides have units of their own."""
    num_cells: int
    units: str
    """`sets`."""
    needs: str
    """The condition of an interval: `two sets with both prompts`."""
    effect: float | None = None
    """The difference, where it is not the units' mean."""
    test: Difference | None = None
    """Its test, where it is not that of the units."""


class Evidence:
    """The cells' scores of one measure, logarithms on the log scale; plain lists, as a question compares many short rows."""

    def __init__(self, measure: Measure, metrics: Sequence[Metric], results: Sequence[CellResult], joined: Joined) -> None:
        self.kind, self.unit, self.scale, self.higher_is_better = measure
        self.metrics = [metric for metric in metrics if measure_of(metric) == measure]
        self.decimals = self.metrics[0].decimals
        self._cells = [[self._value(result, metric) for metric in self.metrics] for result in results]
        self._rows = [_known_means([self._cells[cell] for cell in row.cells]) for row in joined.rows]

    def _value(self, result: CellResult, metric: Metric) -> float:
        score = result.scores.get(metric.name)
        return math.nan if score is None else score.compared

    @property
    def effect_unit(self) -> str:
        """The unit of a difference."""
        return effect_unit(self.metrics[0])

    def effect(self, difference: float) -> float:
        """A difference in that unit."""
        return effect(difference, self.metrics[0])

    def select(self, *, without: Iterable[str] = (), category: str | None = None) -> list[int]:
        """Indices of the metrics on sets of a category (None: all), without the named sets."""
        unwanted = set(without)
        return [
            index
            for index, metric in enumerate(self.metrics)
            if metric.dataset not in unwanted and category in (None, metric.category)
        ]

    def on(self, dataset: str) -> list[int]:
        """Indices of the metrics on one set."""
        return [index for index, metric in enumerate(self.metrics) if metric.dataset == dataset]

    def row_score(self, row: int, metric: int) -> float:
        """The mean of a row on one of the metrics, on the scale of comparison; NaN without one."""
        return self._rows[row][metric]

    def row_difference(self, first: Sequence[int], second: Sequence[int], metrics: Sequence[int]) -> float:
        """First rows' mean minus second rows' mean, averaged over the metrics that both have; NaN without any."""
        if not first or not second:
            return math.nan
        return _mean_difference(
            _known_means([self._rows[row] for row in first]), _known_means([self._rows[row] for row in second]), metrics
        )


def _known_means(lines: Sequence[Sequence[float]]) -> Sequence[float]:
    """The mean of each column over its known values; NaN without any."""
    return lines[0] if len(lines) == 1 else [_known_mean(column) for column in zip(*lines, strict=True)]


def _known_mean(numbers: Sequence[float]) -> float:
    known = [number for number in numbers if not math.isnan(number)]
    return math.fsum(known) / len(known) if known else math.nan


def _mean_difference(first: Sequence[float], second: Sequence[float], metrics: Sequence[int]) -> float:
    return _known_mean([first[metric] - second[metric] for metric in metrics])


def answer_all(contrasts: Sequence[Contrast], evidence: Evidence) -> list[Answer]:
    """The answers of one family of contrasts, p and intervals by Holm over them."""
    tests = [_test(contrast) for contrast in contrasts]
    factors = holm_factors(np.array([math.nan if test is None else test.p for test in tests]))
    return [
        _answer(contrast, evidence, None if test is None else test.among(float(factor)))
        for contrast, test, factor in zip(contrasts, tests, factors, strict=True)
    ]


def _test(contrast: Contrast) -> Difference | None:
    test = contrast.test or _of_units(contrast)
    return None if test is None or math.isnan(test.low) else test


def _of_units(contrast: Contrast) -> Difference | None:
    first = list(contrast.differences.values())
    if contrast.others is None:
        return paired_t(np.array(first)) if len(first) > 1 else None
    second = list(contrast.others.values())
    return unpaired_t(first, second) if len(first) > 1 and len(second) > 1 else None


def _effect(contrast: Contrast) -> float | None:
    if contrast.effect is not None:
        return contrast.effect
    first, second = list(contrast.differences.values()), list((contrast.others or {}).values())
    if not first or (contrast.others is not None and not second):
        return None
    effect = float(np.mean(first)) - (float(np.mean(second)) if second else 0.0)
    return None if math.isnan(effect) else effect


def _answer(contrast: Contrast, evidence: Evidence, test: Difference | None) -> Answer:
    difference = _effect(contrast)
    effect = None if difference is None else evidence.effect(difference)
    answer = Answer(
        contrast=contrast.name,
        category=contrast.category,
        kind=evidence.kind,
        unit=evidence.effect_unit,
        higher_is_better=evidence.higher_is_better,
        decimals=2 if evidence.effect_unit in ("%", "points") else evidence.decimals,
        effect=effect,
        low=None if test is None else evidence.effect(test.low),
        high=None if test is None else evidence.effect(test.high),
        p=None if test is None else test.p,
        num_cells=contrast.num_cells,
        num_units=len(contrast.differences) + len(contrast.others or {}),
        units=contrast.units,
        enough=test is not None,
        outcome=_outcome(effect, test, contrast, evidence),
        sentence="",
    )
    return replace(answer, sentence=_sentence(answer, contrast))


def _outcome(effect: float | None, test: Difference | None, contrast: Contrast, evidence: Evidence) -> str:
    if effect is None:
        return "not measured"
    if test is None:
        sides = [contrast.differences] if contrast.others is None else [contrast.differences, contrast.others]
        return f"too few {contrast.units}" if min(map(len, sides)) < 2 else ALIKE
    if test.p >= ALPHA:
        return NOT_SHOWN
    return "better" if (effect > 0) == evidence.higher_is_better else "worse"


def _sentence(answer: Answer, contrast: Contrast) -> str:
    where = answer.kind if answer.category is None else f"{answer.kind}, {answer.category}"
    head = f"{answer.contrast} ({where})"
    if answer.effect is None:
        return f"{head}: not measured: it needs {contrast.needs}."
    effect = f"{_number(answer, answer.effect, '+')} {answer.unit}"
    if answer.low is None or answer.high is None or answer.p is None:
        needs = f": an interval needs {contrast.needs}; the report has {_list_units(contrast)}"
        return f"{head}: {effect} in {answer.num_cells} cells, {answer.outcome}{'' if answer.outcome == ALIKE else needs}."
    interval = f"{_number(answer, answer.low)} to {_number(answer, answer.high)}, p {format_p(answer.p)}"
    counts = f"{answer.num_units} {answer.units}, {answer.num_cells} cells"
    return f"{head}: {effect} (95 % interval {interval}; {counts}): {answer.outcome}."


def in_short(answers: Sequence[Answer]) -> str:
    """A sentence for each contrast: its outcomes, each with the kinds of score and their numbers."""
    found: dict[str, dict[str, list[Answer]]] = {}
    for answer in answers:
        found.setdefault(answer.contrast, {}).setdefault(answer.outcome, []).append(answer)
    return " ".join(f"{contrast}: {'; '.join(map(_told, each.values()))}." for contrast, each in found.items())


def _told(answers: Sequence[Answer]) -> str:
    """`worse on ppl by 2.31 % (95 % interval 1.02 to 3.62)`, or of no difference the smallest that could have been shown."""
    first, kinds = answers[0], ", ".join(answer.kind for answer in answers)
    known = [(answer, answer.low, answer.high) for answer in answers if answer.low is not None and answer.high is not None]
    if not known:
        return f"{first.outcome} on {kinds}"
    if first.outcome == NOT_SHOWN:
        sizes = ", ".join(f"{_number(answer, (high - low) / 2)} {answer.unit}" for answer, low, high in known)
        return f"{first.outcome} on {kinds} (these {first.units} could have shown about {sizes})"
    return f"{first.outcome} on {', '.join(_size(answer, *sorted((abs(low), abs(high)))) for answer, low, high in known)}"


def _size(answer: Answer, low: float, high: float) -> str:
    size = f"{_number(answer, abs(answer.effect or 0.0))} {answer.unit}"
    return f"{answer.kind} by {size} (95 % interval {_number(answer, low)} to {_number(answer, high)})"


def _number(answer: Answer, number: float, sign: str = "") -> str:
    return format_value(answer.decimals, number, sign)


def _list_units(contrast: Contrast) -> str:
    sides = [", ".join(side) or "none" for side in (contrast.differences, contrast.others) if side is not None]
    return " against ".join(sides)
