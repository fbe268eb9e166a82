"""The study's four questions (arXiv 2410.07461), answered from the cells at hand.

An effect is a mean over metrics of one kind and over the groups that have both sides: of accuracies in points, of
perplexities as a change in percent (from the mean difference of losses). Its interval is over units that another study would
draw anew: calibration sets, tasks, or for two given sets their draws, each averaged over methods and sparsities (draws.py).
With fewer than two units there is no interval, and the answer says what is missing.

A question set counts with the prompt `icl` except where prompts are compared, or with all its prompts where icl was not run.
Rows with a selector or token weights answer other questions and are left out.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from prune.cell.result import CellResult
from prune.data.dataset import Category
from prune.report.findings.draws import Balanced, Draw, Stratum, balance, compare_draws
from prune.report.findings.evidence import Contrast, Evidence, Measure, answer_all, in_short, measure_of
from prune.report.format import names
from prune.report.model import Metric
from prune.report.model_findings import Answer, Question
from prune.report.results.items import ItemsOfRows
from prune.report.results.join import CATEGORIES, Joined, category_of

PRETRAINING, ARITHMETIC = Category.PRETRAINING.value, Category.ARITHMETIC.value
C4 = "c4"
PROMPT_PAIRS = (("icl", "single"), ("icl", "zero_shot"), ("cot", "icl"))
_ASKED = ("bpb", "acc", "acc_mc", "acc_mc_norm", "acc_cf", "bleu")
KINDS_IN_ORDER = (*_ASKED, *(f"{kind}_chat" for kind in _ASKED), "ppl")
"""The order of answers: the study's own measures first."""


class RowsBySet:
    """The rows of the groups by calibration set and prompt."""

    def __init__(self, joined: Joined) -> None:
        self.joined = joined
        self.groups: list[dict[str, dict[str | None, list[int]]]] = [{} for _ in joined.groups]
        """[group]: calibration set -> prompt -> rows (several where knobs differ)."""
        for index, row in enumerate(joined.rows):
            if row.calib is not None and row.is_plain:
                self.groups[row.group].setdefault(row.calib, {}).setdefault(row.prompt, []).append(index)

    def category_of(self, calib: str) -> str:
        """The category of a set."""
        return category_of(calib, self.joined.categories)

    def main_rows(self, group: int, calib: str) -> list[int]:
        """The rows that a set counts with in a group: icl, or all of its prompts without that."""
        by_prompt = self.groups[group].get(calib, {})
        return by_prompt.get("icl") or [row for rows in by_prompt.values() for row in rows]

    def category_rows(self, group: int, category: str) -> list[int]:
        """The main rows of all sets of a category."""
        names = [name for name in self.groups[group] if self.category_of(name) == category]
        return [row for name in names for row in self.main_rows(group, name)]

    def sets(self, category: str) -> list[str]:
        """All sets of a category, in any group."""
        return list(dict.fromkeys(name for group in self.groups for name in group if self.category_of(name) == category))

    def num_cells(self, rows: Iterable[int]) -> int:
        """Number of cells in the rows, each row once."""
        return sum(len(self.joined.rows[row].cells) for row in set(rows))


def answer_questions(
    metrics: Sequence[Metric], results: Sequence[CellResult], joined: Joined, items: ItemsOfRows | None
) -> list[Question]:
    """The four questions, in the study's order."""
    measures = sorted({measure_of(metric) for metric in metrics}, key=_order)
    evidences = [Evidence(measure, metrics, results, joined) for measure in measures]
    by_set = RowsBySet(joined)
    best = [
        answer
        for evidence in evidences
        for answer in answer_all(_c4_against_others(by_set, evidence, results, items), evidence)
    ]
    arithmetic, own, prompts = (
        [answer for evidence in evidences for answer in answer_all(ask(by_set, evidence, results), evidence)]
        for ask in (_arithmetic_against_pretraining, _own_task, _prompts)
    )
    return [
        _question("Is C4 the best of the pre-training sets?", best, "C4 and another pre-training set", _is_c4_best(best)),
        _question("Does arithmetic data do as well as pre-training data?", arithmetic, "a metric"),
        _question(
            "Does calibration on a task improve the score on that task, compared with pre-training data?",
            own,
            "a metric on a question set",
        ),
        _question("Which prompts help: ICL against single and zero-shot, CoT against ICL?", prompts, "a metric"),
    ]


def _order(measure: Measure) -> tuple[int, Measure]:
    kind = measure[0]
    return (KINDS_IN_ORDER.index(kind) if kind in KINDS_IN_ORDER else len(KINDS_IN_ORDER), measure)


def _c4_against_others(
    by_set: RowsBySet, evidence: Evidence, results: Sequence[CellResult], items: ItemsOfRows | None
) -> list[Contrast]:
    """C4 minus every other pre-training set, on metrics of neither; units are the draws."""
    others = [name for name in by_set.sets(PRETRAINING) if name != C4]
    return [_c4_against(other, by_set, evidence, results, items) for other in others]


def _c4_against(
    other: str, by_set: RowsBySet, evidence: Evidence, results: Sequence[CellResult], items: ItemsOfRows | None
) -> Contrast:
    metrics = [evidence.metrics[index].name for index in evidence.select(without=(C4, other))]
    sides = [_draws(by_set, name, metrics, results) for name in (C4, other)]
    balanced = balance(sides)
    test, enough = None, False
    if balanced is not None:
        test, enough = compare_draws(balanced, results, items)
    units = [_units(name, place, balanced, results) for place, name in enumerate((C4, other))]
    return Contrast(
        name=f"{C4} - {other}",
        category=None,
        differences=units[0],
        others=units[1],
        num_cells=0 if balanced is None else balanced.num_cells,
        units="draws",
        needs=f"two draws (calib.draw=0,1) of both {C4} and {other}, and metrics on other sets",
        effect=None if test is None else test.value,
        test=test if enough else None,
    )


def _units(name: str, place: int, balanced: Balanced | None, results: Sequence[CellResult]) -> dict[str, float]:
    """`c4 s0d1` of each draw that is compared; their values lie in the test."""
    cells = [] if balanced is None else [next(iter(draw.values())) for draw in balanced.sides[place]]
    return {f"{name} s{draw[0]}d{draw[1]}" if draw else name: math.nan for draw in (results[cell].draw for cell in cells)}


def _draws(
    by_set: RowsBySet, calib: str, metrics: Sequence[str], results: Sequence[CellResult]
) -> dict[Draw, dict[Stratum, int]]:
    """Draw -> group, knobs and metric -> the cell."""
    draws: dict[Draw, dict[Stratum, int]] = {}
    for group in range(len(by_set.groups)):
        for row in (by_set.joined.rows[index] for index in by_set.main_rows(group, calib)):
            for cell in row.cells:
                measured = {(group, row.knobs, metric): cell for metric in metrics if metric in results[cell].scores}
                draws.setdefault(results[cell].draw, {}).update(measured)
    return draws


def _arithmetic_against_pretraining(by_set: RowsBySet, evidence: Evidence, results: Sequence[CellResult]) -> list[Contrast]:
    """Arithmetic minus pre-training sets, on all metrics and on each category of tasks; units are the sets."""
    categories = [name for name in CATEGORIES if evidence.select(category=name)]
    asks = [None, *categories] if evidence.scale != "log" and len(categories) > 1 else [None]
    return [_sets_of_two_categories(category, by_set, evidence) for category in asks]


def _sets_of_two_categories(category: str | None, by_set: RowsBySet, evidence: Evidence) -> Contrast:
    metrics = evidence.select(category=category)
    sides: dict[str, dict[str, list[float]]] = {ARITHMETIC: {}, PRETRAINING: {}}
    rows_used: list[int] = []
    for index, group in enumerate(by_set.groups):
        baseline = by_set.category_rows(index, PRETRAINING)
        for name in group if baseline and by_set.category_rows(index, ARITHMETIC) else ():
            if by_set.category_of(name) in sides:
                rows = by_set.main_rows(index, name)
                sides[by_set.category_of(name)].setdefault(name, []).append(evidence.row_difference(rows, baseline, metrics))
                rows_used += rows
    first, second = (_means(sides[side]) for side in (ARITHMETIC, PRETRAINING))
    return Contrast(
        name=f"{ARITHMETIC} - {PRETRAINING}",
        category=category,
        differences=first,
        others=second,
        num_cells=by_set.num_cells(rows_used),
        units="sets",
        needs="two arithmetic and two pre-training sets in one group",
    )


def _own_task(by_set: RowsBySet, evidence: Evidence, results: Sequence[CellResult]) -> list[Contrast]:
    """Calibrated on the task itself minus calibrated on pre-training sets, on the task's metric; units are the tasks."""
    categories = [name for name in CATEGORIES if name != PRETRAINING and evidence.select(category=name)]
    if not categories:
        return []
    by_category = {name: _own_tasks_of(name, by_set, evidence) for name in categories}
    known = [contrast for contrast in by_category.values() if contrast.differences]
    return [_own_tasks_of(None, by_set, evidence), *(known if len(known) > 1 else [])]


def _own_tasks_of(category: str | None, by_set: RowsBySet, evidence: Evidence) -> Contrast:
    found: dict[str, list[float]] = {}
    rows_used: list[int] = []
    metrics = [evidence.metrics[index] for index in evidence.select(category=category)]
    tasks = list(dict.fromkeys(metric.dataset for metric in metrics if metric.category != PRETRAINING))
    for index, group in enumerate(by_set.groups):
        baseline = by_set.category_rows(index, PRETRAINING)
        for task in tasks if baseline else ():
            if task in group:
                rows = by_set.main_rows(index, task)
                found.setdefault(task, []).append(evidence.row_difference(rows, baseline, evidence.on(task)))
                rows_used += [*rows, *baseline]
    return Contrast(
        name=f"own task - {PRETRAINING}",
        category=category,
        differences=_means(found),
        others=None,
        num_cells=by_set.num_cells(rows_used),
        units="tasks",
        needs="two tasks that the model was calibrated on, beside a pre-training set in the same group",
    )


def _prompts(by_set: RowsBySet, evidence: Evidence, results: Sequence[CellResult]) -> list[Contrast]:
    """One prompt minus another on the same set, over all sets and by their category; units are the sets."""
    contrasts = []
    for first, second in PROMPT_PAIRS:
        whole, cells_of = _two_prompts(first, second, by_set, evidence)
        by_category = [_of_category(whole, name, cells_of, by_set) for name in CATEGORIES]
        known = [contrast for contrast in by_category if contrast.differences]
        contrasts += [whole, *(known if len(known) > 1 else [])]
    return contrasts


def _two_prompts(first: str, second: str, by_set: RowsBySet, evidence: Evidence) -> tuple[Contrast, dict[str, int]]:
    """(the contrast over all sets, the number of cells of each)."""
    found: dict[str, list[float]] = {}
    rows_of: dict[str, list[int]] = {}
    metrics = evidence.select()
    for group in by_set.groups:
        for name, by_prompt in group.items():
            if first in by_prompt and second in by_prompt:
                found.setdefault(name, []).append(evidence.row_difference(by_prompt[first], by_prompt[second], metrics))
                rows_of.setdefault(name, []).extend([*by_prompt[first], *by_prompt[second]])
    cells_of = {name: by_set.num_cells(rows) for name, rows in rows_of.items()}
    contrast = Contrast(
        name=f"{first} - {second}",
        category=None,
        differences=_means(found),
        others=None,
        num_cells=sum(cells_of.values()),
        units="sets",
        needs=f"two sets with both prompts {first} and {second}",
    )
    return contrast, cells_of


def _of_category(whole: Contrast, category: str, cells_of: Mapping[str, int], by_set: RowsBySet) -> Contrast:
    differences = {name: value for name, value in whole.differences.items() if by_set.category_of(name) == category}
    num_cells = sum(cells_of[name] for name in differences)
    return replace(whole, category=category, differences=differences, num_cells=num_cells)


def _means(found: dict[str, list[float]]) -> dict[str, float]:
    """Unit -> the mean over its groups; units without a known value are left out."""
    known = {name: [value for value in values if not math.isnan(value)] for name, values in found.items()}
    return {name: math.fsum(values) / len(values) for name, values in known.items() if values}


def _question(title: str, answers: Sequence[Answer], needs: str, head: str = "") -> Question:
    """The question with its answers; the summary begins with `head`, or says what is missing where nothing is decided."""
    enough = any(answer.enough for answer in answers)
    whole = [answer for answer in answers if answer.category is None]
    if not whole:
        summary = f"Not measured: it needs {needs}."
    elif enough:
        summary = head + in_short(whole)
    else:
        lacking = dict.fromkeys(answer.outcome for answer in whole if answer.effect is not None)
        missing = " ".join(answer.sentence for answer in whole if answer.kind == whole[0].kind)
        verdict = f"Not decided: {' and '.join(lacking)}" if lacking else "Not measured"
        summary = f"{verdict}. {missing}"
    return Question(title=title, summary=summary, enough=enough, answers=tuple(answers))


def _is_c4_best(answers: Sequence[Answer]) -> str:
    """The answer in a word: `No` needs a set that is shown to be better, `Yes` needs all to be shown worse."""
    better = list(dict.fromkeys(answer.contrast.removeprefix(f"{C4} - ") for answer in answers if answer.outcome == "worse"))
    if better:
        return f"No, {names(better)} {'is' if len(better) == 1 else 'are'} better. "
    if all(answer.outcome == "better" for answer in answers):
        return "Yes, every other set is worse. "
    return "Perhaps: no other set was shown to be better. "
