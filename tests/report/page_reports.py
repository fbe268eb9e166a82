"""Reports for the tests of the page: a small one that has everything, and one as large as a grid may get.

Their scores follow from a formula, so that the tests can say what must be shown; they stand for no measurement.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from random import Random
from typing import Any

from prune.report.model import (
    CalibrationSet,
    Cells,
    Comparison,
    Comparisons,
    Group,
    Metric,
    Origin,
    OverlapWarning,
    Protocol,
    Report,
    RowMetric,
    Rows,
    Unfinished,
    Verdict,
)
from prune.report.model_findings import Answer, BlockCurve, Curve, Line, MaskOverlap, Question
from prune.report.numbers import Basis
from tests.report.page_glance import abilities, gaps, glances, retained
from tests.report.page_plans import LARGE, SMALL, Plan

HOSTILE = "</script><script>document.title='taken'</script><b onmouseover=alert(1)>&amp;"
STAGES = ("load", "calib", "prune", "eval", "total")


@dataclass
class Table:
    """The rows of a plan, in order: a dense one for each model, then those of each group."""

    groups: list[Group] = field(default_factory=list)
    points: list[tuple[int, int | None, str | None]] = field(default_factory=list)
    """Of each row: group, calibration set, prompt."""


def small_report(**changes: Any) -> Report:
    """A report of 2 models x 2 methods x 2 sparsities with something in every section."""
    return build(SMALL, **changes)


def large_report() -> Report:
    """A report of the size that a page must stand."""
    return build(LARGE)


def build(plan: Plan, **changes: Any) -> Report:
    """The report of a plan; `changes` replace fields."""
    table = tabulate(plan)
    metrics = [metric(name, category) for name, category in plan.metrics]
    columns = [row_metric(table, index, plan) for index in range(len(metrics))]
    pruned = [(index, len(of.rows)) for index, of in enumerate(table.groups) if of.method != "dense"]
    parts: dict[str, Any] = {
        "abilities": abilities(metrics),
        "glances": glances(plan, metrics, [(table.groups[index].model, index) for index, _ in pruned]) if pruned else [],
        "retained": retained(pruned, len(abilities(metrics))),
        "gaps": gaps(pruned),
        "title": "Calibration sets compared",
        "sample_data": False,
        "generated": "2026-01-02T03:04:05+00:00",
        "outputs": "outputs",
        "cells_href": "../cells",
        "sweeps": ["calib=c4,pile"],
        "baseline": "c4",
        "warnings": ["Cells come from two versions of torch."],
        "how": ["The rows of one group on one metric are one family."],
        "metrics": metrics,
        "calibs": [CalibrationSet(name=name, category=category) for name, category in plan.calibs],
        "groups": table.groups,
        "cells": cells(table, columns, plan.num_draws),
        "rows": rows(table, columns, plan.num_draws),
        "verdicts": [
            verdict(g, m, table, columns)
            for g in range(len(table.groups))
            for m in range(len(metrics))
            if not dense(table, g)
        ],
        "questions": questions(),
        "curves": curves(table, plan),
        "blocks": blocks(table),
        "mask_overlaps": overlaps(table),
        "overlap_warnings": [OverlapWarning(cell=4, metric=2, num_items=100, num_shared_rows=2, num_shared_ngrams=5)],
        "unfinished": unfinished(),
        "protocols": protocols(plan),
        "origins": origins(len(table.points) * plan.num_draws),
    }
    return Report(**(parts | changes))


def tabulate(plan: Plan) -> Table:
    """The rows and groups of a plan."""
    table = Table()
    for model in plan.models:
        table.groups.append(group(model, "dense", None, [len(table.points)]))
        table.points.append((len(table.groups) - 1, None, None))
    points = [
        (index, prompt)
        for index, (_, category) in enumerate(plan.calibs)
        for prompt in ([None] if category == "pre-training" else plan.prompts)
    ]
    for (place, model), method, sparsity in product(enumerate(plan.models), plan.methods, plan.sparsities):
        first = len(table.points)
        number = len(table.groups)
        table.points += [(number, calib, prompt) for calib, prompt in points]
        rows_here = range(first, len(table.points))
        table.groups.append(group(model, method, f"{sparsity:.0%}", rows_here, baseline=first, dense_row=place))
    return table


def group(
    model: str,
    method: str,
    sparsity: str | None,
    rows: Sequence[int],
    baseline: int | None = None,
    dense_row: int | None = None,
) -> Group:
    """A group; the dense row of a dense group is its own."""
    return Group(
        model=model,
        method=method,
        sparsity=sparsity,
        setting="",
        baseline_row=baseline,
        dense_row=rows[0] if dense_row is None else dense_row,
        rows=list(rows),
    )


def dense(table: Table, number: int) -> bool:
    """Whether a group is that of an unpruned model."""
    return table.groups[number].method == "dense"


def metric(name: str, category: str) -> Metric:
    """A metric by its name; perplexities fall, the rest rises."""
    kind, dataset = name.split("/")
    return Metric(
        name=name,
        kind=kind,
        label=dataset,
        dataset=dataset,
        category=category,
        unit={"ppl": "perplexity per token", "bleu": "BLEU"}.get(kind, "accuracy"),
        scale="log" if kind == "ppl" else "linear",
        higher_is_better=kind != "ppl",
        chance=0.5 if dataset == "rte" else None,
        num_items=None if kind == "ppl" else 100,
        protocol={"split": "test"} if kind == "ppl" else {"num_shots": 3, "split": "test"},
        decimals=2 if kind in ("ppl", "bleu") else 3,
    )


def protocols(plan: Plan) -> list[Protocol]:
    """The models have 8, 9, ... chunks of text."""
    made = []
    for (index, (name, _)), (place, model) in product(enumerate(plan.metrics), enumerate(plan.models)):
        own = {"bos": "chunk"} if name.startswith("ppl") else {"num_shots": 3}
        num_items = 8 + place if name.startswith("ppl") else 100
        made.append(Protocol(metric=index, model=model, num_items=num_items, protocol={"split": "test"} | own))
    return made


def mean_of(table: Table, row: int, metric_index: int, rises: bool) -> float:
    """A row's mean: worse with its group's number, in an order of the group's rows that the metric shifts."""
    number, _, _ = table.points[row]
    place = (row - table.groups[number].rows[0] + 3 * metric_index) % len(table.groups[number].rows)
    return 0.9 - 0.001 * number - 0.01 * place if rises else 20.0 + number + 1.5 * place


def row_metric(table: Table, index: int, plan: Plan) -> RowMetric:
    """A metric's columns, with made-up spreads."""
    rises = not plan.metrics[index][0].startswith("ppl")
    random = Random(index)
    means = [mean_of(table, row, index, rises) * (1 + plan.noise * random.random()) for row in range(len(table.points))]
    spread = 0.004 if rises else 0.6
    known = plan.num_draws > 1
    return RowMetric(
        mean=means,
        sd=[spread if known else None] * len(means),
        low=[mean - 2 * spread if known else None for mean in means],
        high=[mean + 2 * spread if known else None for mean in means],
        num_draws=[plan.num_draws] * len(means),
        rank=[rank(table, row, means, rises) for row in range(len(means))],
        to_baseline=comparisons(means, [table.groups[number].baseline_row for number, _, _ in table.points], spread, known),
        to_dense=comparisons(means, [table.groups[number].dense_row for number, _, _ in table.points], spread, known),
    )


def rank(table: Table, row: int, means: Sequence[float], rises: bool) -> int:
    """1 for the best of the row's group."""
    others = [means[other] for other in table.groups[table.points[row][0]].rows]
    return 1 + sum(other > means[row] if rises else other < means[row] for other in others)


def basis_of(knows_draws: bool) -> Basis:
    """Of paired items, with or without draws."""
    return Basis.ITEMS_AND_SEEDS if knows_draws else Basis.ITEMS


def comparisons(means: Sequence[float], others: Sequence[int | None], spread: float, knows_draws: bool) -> Comparisons:
    """Differences to other rows; those of more than three spreads are beyond noise."""
    differences = [None if other is None or other == row else means[row] - means[other] for row, other in enumerate(others)]
    known = [difference is not None for difference in differences]
    return Comparisons(
        difference=differences,
        low=[None if difference is None else difference - 3 * spread for difference in differences],
        high=[None if difference is None else difference + 3 * spread for difference in differences],
        p=[None if difference is None else probability(difference, spread) for difference in differences],
        basis=[basis_of(knows_draws) if there else Basis.NONE for there in known],
    )


def probability(difference: float, spread: float) -> float:
    """Below 0.05 for more than three spreads."""
    return 0.6 / (1 + (difference / spread) ** 2 * 1.3)


def cells(table: Table, columns: Sequence[RowMetric], num_draws: int) -> Cells:
    """A cell for each row and seed."""
    order = [(row, seed) for row in range(len(table.points)) for seed in range(num_draws)]
    seconds = [2.0 + row % 7 for row, _ in order]
    return Cells(
        id=[f"{row:08x}{seed:04x}" for row, seed in order],
        name=[f"{table.groups[table.points[row][0]].label.replace(' ', '/')}/r{row}/s{seed}" for row, seed in order],
        row=[row for row, _ in order],
        seed=[seed for _, seed in order],
        draw=[0 for _ in order],
        values=[[(column.mean[row] or 0) + 0.003 * seed for row, seed in order] for column in columns],
        stderrs=[[0.0123 + (row * 0.618034) % 0.001 for row, _ in order] for _ in columns],
        sparsity_reached=[0.5 for _ in order],
        seconds={stage: [second * (place + 1) for second in seconds] for place, stage in enumerate(STAGES)},
        host_mb=[1500.0 + row % 100 for row, _ in order],
        device_mb=[0.0 for _ in order],
    )


def rows(table: Table, columns: Sequence[RowMetric], num_draws: int) -> Rows:
    """The rows; the last one misses a cell."""
    numbers = range(len(table.points))
    return Rows(
        group=[number for number, _, _ in table.points],
        calib=[calib for _, calib, _ in table.points],
        prompt=[prompt for _, _, prompt in table.points],
        select=[None for _ in numbers],
        weight=[None for _ in numbers],
        knobs=["" for _ in numbers],
        cells=[[row * num_draws + seed for seed in range(num_draws)] for row in numbers],
        missing=[["gemma3_270m/rte-cot/sparsegpt/70%/s2"] if row == numbers[-1] else [] for row in numbers],
        metrics=columns,
    )


def verdict(number: int, metric_index: int, table: Table, columns: Sequence[RowMetric]) -> Verdict:
    """The best row of a group, against the baseline and the second best."""
    members, column = table.groups[number].rows, columns[metric_index]
    best, second = sorted(members, key=lambda row: column.rank[row] or 0)[:2]
    baseline = table.groups[number].baseline_row
    return Verdict(
        group=number,
        metric=metric_index,
        best=best,
        ties=[],
        baseline=None if baseline in (None, best) else comparison(baseline, best, column, None),
        runner_up=comparison(second, best, column, False),
        num_rows=len(members),
        note=HOSTILE if number == len(table.groups) - 1 else "",
    )


def comparison(other: int, best: int, column: RowMetric, beyond: bool | None) -> Comparison:
    """`best` against another row."""
    difference = (column.mean[best] or 0) - (column.mean[other] or 0)
    known = beyond is not None
    return Comparison(
        row=other,
        difference=difference,
        low=difference - 0.5 if known else None,
        high=difference + 0.5 if known else None,
        p=0.2 if known else None,
        basis=basis_of(column.num_draws[best] > 1) if known else Basis.NONE,
        beyond_noise=beyond,
    )


def questions() -> list[Question]:
    """Four questions, of which the last has too few cells."""
    answers = [
        answer("c4 - pile", "ppl", "%", -4.2, (-6.0, -2.4)),
        answer("gsm8k - c4", "acc", "points", 1.5, (-0.5, 3.5)),
        answer("cot - icl", "acc", "points", None, None),
    ]
    titles = ["Is C4 best?", "Arithmetic against pre-training?", "Own task against pre-training?", "ICL, CoT?"]
    told = [Question(title=title, summary="C4 is ahead by 4.2 %.", enough=True, answers=answers) for title in titles[:3]]
    return [*told, Question(title=titles[3], summary="Not measured: no zero_shot.", enough=False, answers=answers[2:])]


def answer(contrast: str, kind: str, unit: str, effect: float | None, bounds: tuple[float, float] | None) -> Answer:
    """A contrast; without bounds there were too few cells."""
    return Answer(
        contrast=contrast,
        category="arithmetic" if kind == "acc" else None,
        kind=kind,
        unit=unit,
        higher_is_better=kind == "acc",
        decimals=2,
        effect=effect,
        low=None if bounds is None else bounds[0],
        high=None if bounds is None else bounds[1],
        p=None if bounds is None else 0.01,
        num_cells=8 if effect else 1,
        num_units=4 if effect else 1,
        units="tasks",
        enough=bounds is not None,
        outcome="better" if bounds else "too few tasks" if effect else "not measured",
        sentence=f"{contrast}: {'told' if bounds else 'one task only'}.",
    )


def curves(table: Table, plan: Plan) -> list[Curve]:
    """Sparsity curves of every model and method."""
    made = []
    for model, method in product(plan.models, plan.methods):
        members = [group for group in table.groups if (group.model, group.method) == (model, method)]
        lines = [
            Line(
                calib=table.points[first][1],
                prompt=table.points[first][2],
                x=list(plan.sparsities),
                rows=[group.rows[place] for group in members],
            )
            for place, first in enumerate(members[0].rows)
        ]
        dense_row = members[0].dense_row
        made.append(
            Curve(axis="sparsity", model=model, method=method, sparsity=None, setting="", dense_row=dense_row, lines=lines)
        )
    return made


def blocks(table: Table) -> list[BlockCurve]:
    """Six blocks of each pruned row."""
    pruned = [row for row, (number, _, _) in enumerate(table.points) if not dense(table, number)]
    return [
        BlockCurve(row=row, error=[0.01 * (block + 1) + 1e-5 * row for block in range(6)], sparsity=[0.5] * 6)
        for row in pruned
    ]


def overlaps(table: Table) -> list[MaskOverlap]:
    """The masks of the first pruned group: nearer calibration sets share more."""
    made = []
    for number in [number for number in range(len(table.groups)) if not dense(table, number)][:1]:
        members = table.groups[number].rows
        jaccard = [[1 - 0.04 * abs(i - j) for j in range(len(members))] for i in range(len(members))]
        made.append(MaskOverlap(group=number, seed=0, rows=members, jaccard=jaccard, expected=0.3333))
    return made


def unfinished() -> list[Unfinished]:
    """One of each kind."""
    return [
        Unfinished(
            id="feedfeedfeed",
            name="tiny/rte-icl/wanda/50%/s9",
            state="failed",
            reason=f"RuntimeError: {HOSTILE}",
            sweep="calib=c4",
        ),
        Unfinished(id="0123456789ab", name="", state="corrupt", reason="result.json is cut off at line 3", sweep=""),
        Unfinished(id="", name="tiny/c4-cot", state="not applicable", reason="c4 has no questions", sweep="calib=c4"),
    ]


def origins(num_cells: int) -> list[Origin]:
    """Two circumstances."""
    versions = {"prune": "0.1.0", "torch": "2.13.0"}
    clean = Origin(num_cells=num_cells - 1, git="0a1b2c3", dirty=False, device="cpu", hosts=["n1", "n2"], versions=versions)
    other = Origin(num_cells=1, git=None, dirty=None, device="cuda", hosts=["n3"], versions=versions | {"torch": "2.12.0"})
    return [clean, other]
