"""Chooses the blocks to drop on a calibration set, and reports on the linears of the dropped and the kept blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from prune.config.drop import BlocksConfig, Search
from prune.errors import UserError
from prune.models.blocks import find_blocks
from prune.pruning.block_search import Blocks, Memory, allowed_blocks, search_blocks
from prune.pruning.linear_report import LinearReport
from prune.pruning.part_report import report_parts
from prune.pruning.skipping import SkippedLosses
from prune.pruning.smaller import Droppable

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet

SAME_LOSS = 1e-4
"""The relative difference between the loss with blocks skipped and without them that rounding may make."""


def choose_blocks(
    model: PreTrainedModel,
    calibration: CalibrationSet,
    config: BlocksConfig,
    *,
    batch_size: int,
    seed: int,
    on_step: Callable[[int, int], None] = lambda num_done, num_steps: None,
) -> dict[str, Any]:
    """What result.json says of the choice: `blocks` in the order in which they are dropped, losses in nats per token; JSON
    values.

    Args:
        batch_size: sequences in one forward pass.
        seed: draws what the evolution tries.
        on_step: called with the number of sets of blocks that were measured, and the most that there can be.

    Raises:
        UserError: the model's blocks are not a chain, or are too few, or nothing that can be saved is left.
    """
    blocks = find_blocks(model)
    allowed, num = allowed_blocks(len(blocks), config), config.num_dropped(len(blocks))
    most = _most_sets(len(allowed), num, config)
    losses = SkippedLosses(
        model, blocks, calibration, batch_size=batch_size, on_pass=lambda done: on_step(min(done, most), most)
    )
    dense = losses([Blocks()])[Blocks()]
    if not math.isfinite(dense):
        raise UserError(
            "the loss of the dense model on the calibration set is not finite, so no blocks can be compared by it: load the "
            "model in a wider type (model.dtype=bfloat16 or float32)."
        )
    found = search_blocks(len(blocks), config, Memory(losses, Droppable(model)), seed)
    return {
        "what": config.parts,
        "search": config.search.value,
        "num_blocks": len(blocks),
        "blocks": list(found.blocks),
        "dense_loss": dense,
        "loss": found.loss,
        "losses": list(found.losses),
        "num_measured": losses.num_measured,
    }


def _most_sets(num_allowed: int, num: int, config: BlocksConfig) -> int:
    """How many sets of blocks a search measures at most, and the dense model."""
    if config.search is Search.greedy:
        return 1 + sum(num_allowed - step for step in range(num))
    return 1 + min(config.population * config.generations, math.comb(num_allowed, num))


def check_loss(smaller: PreTrainedModel, calibration: CalibrationSet, chosen: Mapping[str, Any], *, batch_size: int) -> None:
    """Make sure that the model without the chosen blocks has the loss that the search found with them skipped.

    Raises:
        UserError: it has another: something in the model depends on the indices of its blocks.
    """
    loss = SkippedLosses(smaller, find_blocks(smaller), calibration, batch_size=batch_size)([Blocks()])[Blocks()]
    if not math.isclose(loss, chosen["loss"], rel_tol=SAME_LOSS):
        raise UserError(
            f"{type(smaller).__name__} without blocks {chosen['blocks']} has a loss of {loss:.6g} on the calibration set, "
            f"and {chosen['loss']:.6g} with them skipped: what its blocks compute depends on their index, so none can be "
            "dropped."
        )


def report_blocks(model: PreTrainedModel, dropped: Collection[int]) -> list[LinearReport]:
    """A report for each linear of the dense `model`, those of the dropped blocks gone; see `report_parts`."""
    return report_parts(model, lambda block, name: block in dropped)
