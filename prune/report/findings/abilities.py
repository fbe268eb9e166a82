"""Which scores are averaged with each other, and how much of an ability pruned models retain.

Only scores of one kind, unit, scale and direction are averaged: perplexities as losses, accuracies, bits per byte. A score
of a machine (`speed`) is no ability of a model and enters no mean.
"""

import math
from collections.abc import Sequence

from prune.cell.result import CellResult
from prune.data.dataset import Category
from prune.eval.metric import ACCURACY, LAST_WORD
from prune.report.findings.evidence import Measure, effect, effect_unit, measure_of
from prune.report.model import Metric
from prune.report.model_findings import Ability, Gap, Retained
from prune.report.results.join import Joined

LANGUAGE, QUESTIONS = "language modelling", "all questions"
READING = ("boolq", "race")
"""Question sets with a passage to read."""
NAMES = {Category.ARITHMETIC.value: "maths", Category.PRETRAINING.value: "text"}
"""Names of abilities, where they are not the category of their sets."""
APART = ("speed",)
"""Kinds that enter no mean."""
KINDS = ("bpb", "acc", "acc_mc", "acc_mc_norm", "acc_cf", "bleu")
"""The preferred kinds first; others come after them."""
WELL_ABOVE = 5
"""Standard errors above chance from which on the retained share is meaningful."""


def find_abilities(metrics: Sequence[Metric]) -> list[Ability]:
    """All questions, language modelling, then the single abilities; of each the preferred kind first."""
    found: dict[tuple[str, Measure], list[int]] = {}
    for index, metric in enumerate(metrics):
        if metric.kind not in APART:
            found.setdefault((ability_of(metric), measure_of(metric)), []).append(index)
    for measure in dict.fromkeys(measure for name, measure in found if name != LANGUAGE):
        several = [name for name, of_name in found if of_name == measure and name != LANGUAGE]
        if len(several) > 1:
            found[(QUESTIONS, measure)] = [index for name in several for index in found[(name, measure)]]
    made = [_ability(name, metrics, sorted(indices)) for (name, _), indices in found.items()]
    return sorted(made, key=_order)


def ability_of(metric: Metric) -> str:
    """`language modelling` for perplexities and last words; for other scores the ability that their set asks for."""
    if metric.scale == "log" or metric.unit == LAST_WORD:
        return LANGUAGE
    return "reading" if metric.dataset in READING else NAMES.get(metric.category, metric.category)


def _ability(name: str, metrics: Sequence[Metric], indices: Sequence[int]) -> Ability:
    first = metrics[indices[0]]
    unit = effect_unit(first)
    return Ability(
        name=name,
        kind=first.kind,
        unit=unit,
        higher_is_better=first.higher_is_better,
        decimals={"%": 1, "points": 1}.get(unit, first.decimals),
        metrics=indices,
    )


def _order(ability: Ability) -> tuple[int, bool, int, int]:
    """All questions in their best kind, language modelling (perplexities first), then the others."""
    kind = KINDS.index(ability.kind) if ability.kind in KINDS else len(KINDS)
    place = {QUESTIONS: 0, LANGUAGE: 1}.get(ability.name, 2)
    return place, ability.unit != "%", kind, -len(ability.metrics)


def headline(abilities: Sequence[Ability]) -> list[int]:
    """Indices of the abilities that the sentence speaks of: questions, in the preferred kind, and language modelling."""
    questions = [index for index, ability in enumerate(abilities) if ability.name != LANGUAGE]
    language = [index for index, ability in enumerate(abilities) if ability.name == LANGUAGE]
    return [*questions[:1], *language[:1]]


def find_retained(
    abilities: Sequence[Ability], metrics: Sequence[Metric], results: Sequence[CellResult], joined: Joined
) -> list[Retained]:
    """The rest of each ability in each group's rows, where the dense model was scored."""
    return [
        found
        for group in range(len(joined.groups))
        for index, ability in enumerate(abilities)
        if (found := _retained(index, ability, group, metrics, results, joined)) is not None
    ]


def _retained(
    index: int, ability: Ability, group: int, metrics: Sequence[Metric], results: Sequence[CellResult], joined: Joined
) -> Retained | None:
    of_group = joined.groups[group]
    if of_group.dense_row is None or of_group.dense_row in of_group.rows:
        return None
    dense = results[joined.rows[of_group.dense_row].cells[0]]
    rows = [[results[cell] for cell in joined.rows[row].cells] for row in of_group.rows]
    scored = [metrics[place] for place in ability.metrics if metrics[place].name in dense.scores]
    shared = [metric for metric in scored if any(all(metric.name in cell.scores for cell in cells) for cells in rows)]
    if not shared:
        return None
    retains = [metric for metric in shared if _is_well_above(dense, metric)] if shared[0].unit == ACCURACY else []
    used = retains or shared
    measure = "retention" if retains else "times" if used[0].scale == "log" else ability.unit
    values = [_of_row(cells, dense, used, measure) for cells in rows]
    return Retained(ability=index, group=group, measure=measure, scores=[metric.name for metric in used], values=values)


def _is_well_above(dense: CellResult, metric: Metric) -> bool:
    score = dense.scores[metric.name]
    return score.stderr is not None and score.value - (metric.chance or 0.0) > WELL_ABOVE * score.stderr > 0


def _of_row(cells: Sequence[CellResult], dense: CellResult, metrics: Sequence[Metric], measure: str) -> float | None:
    """The mean over the cells; None where one of them lacks a score."""
    if not all(metric.name in cell.scores for cell in cells for metric in metrics):
        return None
    found = [_of_cell(cell, dense, metric, measure) for cell in cells for metric in metrics]
    mean = math.fsum(found) / len(found)
    return math.exp(min(mean, 700.0)) if measure == "times" else mean


def _of_cell(cell: CellResult, dense: CellResult, metric: Metric, measure: str) -> float:
    difference = cell.scores[metric.name].compared - dense.scores[metric.name].compared
    if measure == "retention":
        return 1 + difference / (dense.scores[metric.name].value - (metric.chance or 0.0))
    return difference if measure == "times" else effect(difference, metric)


def find_gaps(metrics: Sequence[Metric], results: Sequence[CellResult], joined: Joined) -> list[Gap]:
    """acc_mc - acc of every row, in points, where both were measured on the same sets."""
    names = {metric.name for metric in metrics}
    sets = [metric.dataset for metric in metrics if metric.kind == "acc" and f"acc_mc/{metric.dataset}" in names]
    found = []
    for index, group in enumerate(joined.groups):
        is_pruned = group.dense_row not in group.rows
        values = [_gap([results[cell] for cell in joined.rows[row].cells], sets) for row in group.rows] if is_pruned else []
        if any(value is not None for value in values):
            dense = None if group.dense_row is None else _gap([results[joined.rows[group.dense_row].cells[0]]], sets)
            found.append(Gap(group=index, sets=sets, values=values, dense=dense))
    return found


def _gap(cells: Sequence[CellResult], sets: Sequence[str]) -> float | None:
    pairs = [(cell.scores.get(f"acc_mc/{name}"), cell.scores.get(f"acc/{name}")) for cell in cells for name in sets]
    known = [100 * (chosen.value - written.value) for chosen, written in pairs if chosen is not None and written is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(pairs) else None
