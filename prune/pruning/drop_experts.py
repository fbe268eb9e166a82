"""Chooses the experts to drop, in one step or in rounds, each measured on the model that the one before left."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prune.config.drop import Criterion, ExpertsConfig
from prune.pruning.expert_scores import Watched, lowest_experts, router_scores, scores_of
from prune.pruning.linear_report import LinearReport
from prune.pruning.mixtures import Mixture, check_left, dropped_of, find_mixtures, num_groups, without_experts
from prune.pruning.part_report import report_parts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet

Kept = dict[str, list[int]]
"""Name of a mixture -> the numbers of its experts in the dense model that stay."""

OnStep = Callable[[int, int], None]


def choose_experts(
    model: PreTrainedModel,
    calibration: CalibrationSet | None,
    config: ExpertsConfig,
    *,
    batch_size: int,
    on_step: OnStep = lambda num_done, num_steps: None,
) -> dict[str, Any]:
    """What result.json says of the choice: `experts` by mixture, ascending, and the scores in the dense model; JSON values.

    Args:
        calibration: may be None for criterion=router.
        batch_size: sequences in one forward pass.
        on_step: called with the number of sequences done in a round, and of all in it.

    Raises:
        UserError: the model has no mixtures that can be sliced, or too few experts would be left.
    """
    mixtures = find_mixtures(model)
    number, groups = mixtures[0].num_experts, num_groups(model)
    num = config.num_dropped(number)
    check_left(model, number, num, _top_k(model, mixtures[0], calibration))
    kept: Kept = {mixture.name: list(range(number)) for mixture in mixtures}
    told: dict[str, Any] = {}
    for now in _steps(num, config.rounds if config.needs_inputs else 1, groups):
        left = without_experts(model, kept) if told else model
        chosen, measured = _chosen(left, calibration, config.criterion, now, batch_size, on_step)
        told = told or measured
        kept = {name: [kept[name][place] for place in dropped_of(len(kept[name]), gone)] for name, gone in chosen.items()}
    experts = {name: dropped_of(number, places) for name, places in kept.items()}
    about = {"what": config.parts, "criterion": config.criterion.value, "num_experts": number, "num_dropped": num}
    return {**about, "experts": experts, **told}


def _top_k(model: PreTrainedModel, mixture: Mixture, calibration: CalibrationSet | None) -> int:
    """How many experts a token chooses, seen on two tokens; by the configuration where there is no calibration set."""
    if calibration is None:
        settings = vars(model.config.get_text_config())
        return next((value for key, value in settings.items() if "per_tok" in key and isinstance(value, int)), 1)
    return Watched(model, calibration, 1).top_k(mixture)


def _steps(num: int, rounds: int, groups: int) -> list[int]:
    """How many experts are dropped in each round: shares as equal as possible, in whole multiples of the number of
    groups."""
    units = num // groups
    ends = [units * (step + 1) // rounds for step in range(rounds)]
    return [groups * (end - start) for start, end in zip([0, *ends], ends, strict=False) if end > start]


def _chosen(
    model: PreTrainedModel,
    calibration: CalibrationSet | None,
    criterion: Criterion,
    num: int,
    batch_size: int,
    on_step: OnStep,
) -> tuple[dict[str, Sequence[int]], dict[str, Any]]:
    """(the experts of each mixture to drop, by their numbers in this model; what was measured)."""
    mixtures, groups = find_mixtures(model), num_groups(model)
    if criterion is Criterion.router:
        scores = router_scores(mixtures)
        return _by_scores(scores, num, groups), {"scores": _plain(scores)}
    assert calibration is not None, f"{criterion.value} needs a calibration set"
    watched = Watched(model, calibration, batch_size)
    if criterion is Criterion.exact:
        found = watched.measure_sets(mixtures, num, groups, on_step)
        best = {name: errors.best() for name, errors in found.items()}
        changes = {name: found[name].errors[best[name]] / max(found[name].squares, 1e-300) for name in found}
        return dict(best), {"relative_errors": changes}
    statistics = watched.measure(mixtures, on_step)
    scores = {name: scores_of(statistic, criterion) for name, statistic in statistics.items()}
    tokens = {name: statistic.num_tokens_E.tolist() for name, statistic in statistics.items()}
    return _by_scores(scores, num, groups), {"scores": _plain(scores), "tokens": tokens}


def _by_scores(scores: Mapping[str, list[float]], num: int, groups: int) -> dict[str, Sequence[int]]:
    return {name: lowest_experts(of_mixture, num, groups) for name, of_mixture in scores.items()}


def _plain(scores: Mapping[str, list[float]]) -> dict[str, list[float | None]]:
    """As JSON holds them: None for an infinite one."""
    return {name: [score if math.isfinite(score) else None for score in of_mixture] for name, of_mixture in scores.items()}


def kept_experts(dropped: Mapping[str, Any]) -> Kept:
    """The experts that stay, by what `choose_experts` returned."""
    return {name: dropped_of(dropped["num_experts"], gone) for name, gone in dropped["experts"].items()}


def report_experts(model: PreTrainedModel, dropped: Mapping[str, Any]) -> list[LinearReport]:
    """A report for each linear of the dense `model`, those of the dropped experts gone; see `report_parts`."""
    gone = {
        f"{mixture.name}.{mixture.experts_name}.{expert}"
        for mixture in find_mixtures(model)
        for expert in dropped["experts"][mixture.name]
    }
    return report_parts(model, lambda block, name: f"{block}.{name.rpartition('.')[0]}" in gone)


def without(model: PreTrainedModel, dropped: Mapping[str, Any]) -> PreTrainedModel:
    """The model without the chosen experts; see `without_experts`."""
    return without_experts(model, kept_experts(dropped))
