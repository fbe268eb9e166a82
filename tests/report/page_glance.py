"""The part at a glance of the hand-made reports: marks in steps of a tenth, the last one within noise."""

from collections.abc import Sequence

from prune.report.model import Metric
from prune.report.model_findings import Ability, Gap, Glance, Mark, Noise, Panel, Retained
from prune.report.numbers import Basis
from tests.report.page_plans import Plan

ROUNDING = 0.05


def abilities(metrics: Sequence[Metric]) -> list[Ability]:
    """Questions as accuracies, and perplexities."""
    of_kind = {kind: [index for index, metric in enumerate(metrics) if metric.kind == kind] for kind in ("acc", "ppl")}
    made = []
    for kind, name, unit in (("acc", "all questions", "points"), ("ppl", "language modelling", "%")):
        if of_kind[kind]:
            rises = kind == "acc"
            made.append(Ability(name=name, kind=kind, unit=unit, higher_is_better=rises, decimals=1, metrics=of_kind[kind]))
    return made


def labels(plan: Plan) -> list[tuple[str, str]]:
    """Label and category of each row, C4 first."""
    return [
        (name if prompt is None else f"{name}-{prompt}", category)
        for name, category in plan.calibs
        for prompt in ([None] if category == "pre-training" else plan.prompts)
    ]


def glances(plan: Plan, metrics: Sequence[Metric], groups: Sequence[tuple[str, int]]) -> list[Glance]:
    """One a model; `groups` are (model, index)."""
    return [glance(plan, metrics, model, [index for name, index in groups if name == model]) for model in plan.models]


def glance(plan: Plan, metrics: Sequence[Metric], model: str, groups: Sequence[int]) -> Glance:
    """Two abilities over all groups, and each single score."""
    own = abilities(metrics)
    whole = [panel(plan, ability=index, unit=one.unit, rises=one.higher_is_better) for index, one in enumerate(own)]
    singles = [panel(plan, metric=index, unit=of.unit, rises=of.higher_is_better) for of in own for index in of.metrics]
    of_groups = [
        panel(plan, ability=index, group=group, unit=one.unit, rises=one.higher_is_better)
        for group in groups[:2]
        for index, one in enumerate(own)
    ]
    return Glance(
        model=model,
        part="",
        reference="c4",
        sentence=f"Calibrate on pile for {model}: 0.5 points better than c4.",
        details=["2 draws of each set."],
        groups=groups,
        panels=[*whole, *singles, *of_groups],
    )


def panel(
    plan: Plan, *, unit: str, rises: bool, ability: int | None = None, metric: int | None = None, group: int | None = None
) -> Panel:
    """The first set beside C4 is best; every further one is a tenth worse."""
    sign = 1 if rises else -1
    marks = [
        mark(label, category, sign * (0.5 - 0.1 * place), plan.num_draws, is_good=rises == (sign * (0.5 - 0.1 * place) > 0))
        for place, (label, category) in enumerate(labels(plan)[1:])
    ]
    marks.append(mark("c4 reversed", "pre-training", sign * ROUNDING, plan.num_draws, is_good=True, is_rounding=True))
    marks.sort(key=lambda one: one.effect or 0.0, reverse=rises)
    known = plan.num_draws > 1
    return Panel(
        ability=ability,
        metric=metric,
        group=group,
        unit=unit,
        higher_is_better=rises,
        decimals=1,
        num_scores=4,
        family=len(marks) - 1,
        is_headline=ability is not None and group is None,
        marks=marks,
        incomplete=["rte-chat"],
        reference_draws=plan.num_draws,
        noise=Noise(draws=0.2 if known else None, items=0.1, rounding=ROUNDING),
    )


def mark(label: str, category: str, effect: float, num_draws: int, *, is_good: bool, is_rounding: bool = False) -> Mark:
    """Beyond noise from 0.25 on."""
    beyond = abs(effect) > 0.25
    return Mark(
        label=label,
        category=category,
        effect=effect,
        low=effect - 0.25,
        high=effect + 0.25,
        p=0.01 if beyond else 0.4,
        basis=Basis.ITEMS_AND_SEEDS if num_draws > 1 else Basis.ITEMS,
        stand=("better" if is_good else "worse") if beyond else "",
        num_draws=num_draws,
        left_out=["acc/rte"] if label.startswith("rte") else [],
        is_rounding=is_rounding,
    )


def retained(groups: Sequence[tuple[int, int]], number: int) -> list[Retained]:
    """Of (group, number of its rows); questions as a share, perplexities as a factor."""
    return [
        Retained(
            ability=ability,
            group=group,
            measure="retention" if ability == 0 else "times",
            scores=["acc/gsm8k", "acc/rte"],
            values=[(0.9 if ability == 0 else 2.0) - 0.1 * row for row in range(size)],
        )
        for group, size in groups
        for ability in range(number)
    ]


def gaps(groups: Sequence[tuple[int, int]]) -> list[Gap]:
    """The first row chooses 30 points better than it writes, each further one two points more."""
    return [
        Gap(group=group, sets=["gsm8k"], values=[30.0 + 2 * row for row in range(size)], dense=5.0)
        for group, size in groups[:1]
    ]
