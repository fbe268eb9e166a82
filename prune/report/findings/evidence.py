"""Scores of one kind of metric, averaged for a question, and what a contrast of them comes to."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from prune.cell.result import CellResult
from prune.eval.metric import ACCURACY
from prune.report.compare.statistics import ALPHA, Difference, holm_factors, paired_t, unpaired_t
from prune.report.model import Metric
from prune.report.model_findings import Answer
from prune.report.results.join import Joined

Measure = tuple[str, str, str, bool]
"""Kind, unit, scale and direction: only metrics that share all four are averaged."""


def measure_of(metric: Metric) -> Measure:
    """What a metric must share with others to be averaged with them."""
    return metric.kind, metric.unit, metric.scale, metric.higher_is_better


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two sides of a question on one kind of metric, in units that count as independent."""

    name: str
    """`arithmetic - pre-training`."""
    category: str | None
    differences: Mapping[str, float]
    """Unit -> first side minus second, where a unit has both; else the first side's values."""
    others: Mapping[str, float] | None
    """Unit -> the second side's values, where sides have units of their own."""
    num_cells: int
    units: str
    """`sets`."""
    needs: str
    """What an interval needs: `two sets with both prompts`."""
    effect: float | None = None
    """The difference, where it is not that of the units' means."""
    test: Difference | None = None
    """Its test, where it is not that of the units."""


class Evidence:
    """The cells' scores of one measure; logarithms on the log scale.

    Lists of plain numbers, because a question compares many short rows of them.
    """

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
        """Of a difference: `%` on the log scale, `points` of an accuracy, else the scores' own unit."""
        return "%" if self.scale == "log" else "points" if self.unit == ACCURACY else self.unit

    def effect(self, difference: float) -> float:
        """A difference in that unit."""
        if self.scale == "log":
            return 100 * math.expm1(difference)
        return 100 * difference if self.unit == ACCURACY else difference

    def select(self, *, without: Iterable[str] = (), category: str | None = None) -> list[int]:
        """The metrics on sets of a category (None: all), but on those named."""
        unwanted = set(without)
        return [
            index
            for index, metric in enumerate(self.metrics)
            if metric.dataset not in unwanted and category in (None, metric.category)
        ]

    def on(self, dataset: str) -> list[int]:
        """The metric on one set, if there is one."""
        return [index for index, metric in enumerate(self.metrics) if metric.dataset == dataset]

    def row_score(self, row: int, metric: int) -> float:
        """The mean of a row on one of the metrics, as it is compared; NaN where it has none."""
        return self._rows[row][metric]

    def row_difference(self, first: Sequence[int], second: Sequence[int], metrics: Sequence[int]) -> float:
        """Mean over metrics that both have of (mean of the first rows - mean of the second rows); NaN without any."""
        if not first or not second:
            return math.nan
        return _mean_difference(
            _known_means([self._rows[row] for row in first]), _known_means([self._rows[row] for row in second]), metrics
        )

    def cell_difference(self, first: int, second: int, metrics: Sequence[int]) -> float:
        """Mean over metrics that both cells have of first - second; NaN without any."""
        return _mean_difference(self._cells[first], self._cells[second], metrics)


def _known_means(lines: Sequence[Sequence[float]]) -> Sequence[float]:
    """The mean of each column over what is not NaN; NaN where nothing is known."""
    return lines[0] if len(lines) == 1 else [_known_mean(column) for column in zip(*lines, strict=True)]


def _known_mean(numbers: Sequence[float]) -> float:
    known = [number for number in numbers if not math.isnan(number)]
    return math.fsum(known) / len(known) if known else math.nan


def _mean_difference(first: Sequence[float], second: Sequence[float], metrics: Sequence[int]) -> float:
    return _known_mean([first[metric] - second[metric] for metric in metrics])


def answer_all(contrasts: Sequence[Contrast], evidence: Evidence) -> list[Answer]:
    """The answers of contrasts that were asked together, p and intervals by Holm over them."""
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
    effect = _effect(contrast)
    answer = Answer(
        contrast=contrast.name,
        category=contrast.category,
        kind=evidence.kind,
        unit=evidence.effect_unit,
        higher_is_better=evidence.higher_is_better,
        effect=None if effect is None else evidence.effect(effect),
        low=None if test is None else evidence.effect(test.low),
        high=None if test is None else evidence.effect(test.high),
        p=None if test is None else test.p,
        num_cells=contrast.num_cells,
        num_units=len(contrast.differences) + len(contrast.others or {}),
        units=contrast.units,
        enough=test is not None,
        sentence="",
    )
    decimals = 2 if evidence.effect_unit in ("%", "points") else evidence.decimals
    return replace(answer, sentence=_sentence(answer, contrast, decimals))


def _sentence(answer: Answer, contrast: Contrast, decimals: int) -> str:
    where = answer.kind if answer.category is None else f"{answer.kind}, {answer.category}"
    head = f"{answer.contrast} ({where})"
    if answer.effect is None:
        return f"{head}: not enough cells: it needs {contrast.needs}."
    effect = f"{answer.effect:+.{decimals}f} {answer.unit}"
    if answer.low is None or answer.high is None or answer.p is None:
        there = f"it needs {contrast.needs}; the report has {_list_units(contrast)}"
        return f"{head}: {effect} in {answer.num_cells} cells, not enough for an interval: {there}."
    interval = f"{answer.low:.{decimals}f} to {answer.high:.{decimals}f}"
    numbers = f"{interval}, p {'< 0.001' if answer.p < 0.001 else format(answer.p, '.3f')}"
    counts = f"{answer.num_units} {answer.units}, {answer.num_cells} cells"
    return f"{head}: {effect} ({numbers}; {counts}): {judgement(answer)}."


def judgement(answer: Answer) -> str:
    """`better`, `worse` or `no difference beyond noise`, of an answer with an interval."""
    assert answer.effect is not None and answer.p is not None, "only answers with an interval are judged"
    if answer.p >= ALPHA:
        return "no difference beyond noise"
    return "better" if (answer.effect > 0) == answer.higher_is_better else "worse"


def _list_units(contrast: Contrast) -> str:
    sides = [", ".join(side) or "none" for side in (contrast.differences, contrast.others) if side is not None]
    return " against ".join(sides)
