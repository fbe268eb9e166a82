"""How the model of a cell with sparsity=blocks or sparsity=experts is made, and what is kept and said of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prune.cell.cell import Cell
from prune.cell.model_card import cell_facts, model_card
from prune.config.config import Config, Save
from prune.config.drop import BlocksConfig, ExpertsConfig
from prune.pruning.linear_report import LinearReport, describe_linears, describe_sparsity

if TYPE_CHECKING:
    from prune.calib.calibration_set import CalibrationSet
    from prune.models.load import LoadedModel

Dropped = Mapping[str, Any]
"""What result.json says of the dropped parts, under `dropped`."""


def choose_parts(
    config: Config,
    loaded: "LoadedModel",
    calibration: "CalibrationSet | None",
    on_step: Callable[[int, int], None],
) -> dict[str, Any]:
    """The parts of a dense model to drop.

    Raises:
        UserError: the model, the calibration set and the number do not fit.
    """
    from prune.pruning.drop_blocks import choose_blocks
    from prune.pruning.drop_experts import choose_experts

    sparsity = config.sparsity
    how: dict[str, Any] = {"batch_size": config.batch_size, "on_step": on_step}
    if isinstance(sparsity, ExpertsConfig):
        return choose_experts(loaded.model, calibration, sparsity, **how)
    assert isinstance(sparsity, BlocksConfig) and calibration is not None, sparsity
    return choose_blocks(loaded.model, calibration, sparsity, seed=config.calib.seed, **how)


def drop_parts(
    config: Config, loaded: "LoadedModel", dropped: Dropped, calibration: "CalibrationSet | None"
) -> "tuple[LoadedModel, list[LinearReport]]":
    """(a model without these parts, a report for each linear of the dense one).

    The dense model stays whole for later cells, except where it is loaded for each of them (model.offload).

    Raises:
        UserError: its configuration cannot describe what is left, or what is left computes something else.
    """
    from prune.pruning.drop_blocks import check_loss, report_blocks
    from prune.pruning.drop_experts import report_experts, without
    from prune.pruning.smaller import without_blocks

    if isinstance(config.sparsity, ExpertsConfig):
        reports = report_experts(loaded.model, dropped)
        return replace(loaded, model=without(loaded.model, dropped), left_out=frozenset()), reports
    reports = report_blocks(loaded.model, dropped["blocks"])
    smaller = without_blocks(loaded.model, dropped["blocks"], in_place=config.model.offload)
    assert calibration is not None, "the blocks were chosen on one"
    check_loss(smaller, calibration, dropped, batch_size=config.batch_size)
    return replace(loaded, model=smaller, left_out=frozenset()), reports


def save_smaller(
    cell: Cell,
    loaded: "LoadedModel",
    reports: Sequence[LinearReport],
    dropped: Dropped,
    calibration: "CalibrationSet | None",
    sha256: str,
) -> None:
    """Keep the smaller model as a folder that transformers loads.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    from prune.pruning.saved import save_model

    facts = cell_facts(cell, describe_sparsity(loaded.model, reports), describe_linears(reports), calibration, sha256)
    facts["sparsity reached"] = what = describe_dropped(dropped)
    whole = f"The model is smaller: {what}, and the others are unchanged"
    save_model(cell.files.saved(Save.model), loaded, model_card(cell.name, facts, cell.config.model, whole))


def describe_dropped(dropped: Dropped) -> str:
    """`blocks 3, 7 of 8 (the first is 0) were dropped`, or how many experts of each mixture."""
    if dropped["what"] == "experts":
        number, total = dropped["num_dropped"], dropped["num_experts"]
        return f"{number} of {total} experts in each of {len(dropped['experts'])} mixtures were dropped"
    return f"blocks {', '.join(map(str, dropped['blocks']))} of {dropped['num_blocks']} (the first is 0) were dropped"
