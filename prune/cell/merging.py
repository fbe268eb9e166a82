"""How the weights of a merged cell are made: the mean of its parents' weights, and what prunes it back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prune.cell.cell import Cell
from prune.cell.merged import find_parents
from prune.config.merge import Back
from prune.pruning.methods.magnitude import MagnitudeConfig
from prune.pruning.methods.wanda import WandaConfig
from prune.pruning.registry import build_method

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet
    from prune.pruning.method import Method
    from prune.pruning.sparsity import Pattern


def is_merged(cell: Cell) -> bool:
    """Whether its weights are other cells' mean."""
    return "merge" in cell.canonical.get("calib", {})


def average_parents(cell: Cell, model: "PreTrainedModel") -> "tuple[Method, Mapping[str, Pattern], CalibrationSet]":
    """Give the dense model the mean; returns what prunes it back: the method, each linear's pattern, the sets of all.

    Raises:
        UserError: a parent has changed, or their sets differ in length.
    """
    from prune.calib.store import load
    from prune.pruning.allocation import allocate
    from prune.pruning.merge import average_pruned, stack_sets

    config, parents = cell.config, find_parents(cell.config)
    calibration = stack_sets([load(cell.output_dir / "calib" / parent.set_id) for parent in parents])
    patterns = allocate(model, config.method, config.sparsity, calibration, batch_size=config.batch_size)
    saved = {parent.folder.path: parent.weights_sha256 for parent in parents}
    average_pruned(model, saved, config.merge.shares)
    kind = WandaConfig if config.merge.back is Back.wanda else MagnitudeConfig
    return build_method(kind()), patterns, calibration


def describe_merge(cell: Cell) -> dict[str, Any]:
    """For result.json: the names of what was averaged, with their shares, and what pruned back; nothing for other cells.

    A name that several of them have is followed by the id.
    """
    if not is_merged(cell):
        return {}
    merge, parents = cell.config.merge, find_parents(cell.config)
    names = [parent.name for parent in parents]
    ids = [f" ({parent.folder.path.name})" if names.count(parent.name) > 1 else "" for parent in parents]
    shares = {f"{name}{its_id}": share for name, its_id, share in zip(names, ids, merge.shares, strict=True)}
    return {"merge": {"cells": shares, "back": merge.back.value}}
