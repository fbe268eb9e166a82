"""From a dense model to pruned weights, as a configuration says; see prune/pruning for how."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from prune.cell.identity import propagation, reconstruction
from prune.config.config import Config
from prune.config.drop import DropConfig
from prune.config.method import Propagation
from prune.pruning.linear_checks import check_zeros
from prune.pruning.linear_report import LinearReport
from prune.pruning.methods.dense import DenseConfig
from prune.pruning.registry import build_method, build_weights

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet
    from prune.models.load import LoadedModel
    from prune.pruning.method import Method
    from prune.pruning.propagation import DenseInputs, Inputs
    from prune.pruning.reconstruct import Reconstruction
    from prune.pruning.sparsity import Pattern

OnBlock = Callable[[int, int], None]
"""Called after each block with (number of blocks done, number of all)."""

OnMask: TypeAlias = "Callable[[int, str, Tensor], None]"
"""Called for each linear with (its block, its name in the block, its mask O x I)."""


def prune_weights(
    config: Config,
    model: "PreTrainedModel",
    calibration: "CalibrationSet | None",
    dense_inputs: "Callable[[CalibrationSet], Inputs | None]",
    *,
    on_block: OnBlock,
    on_mask: OnMask,
) -> list[LinearReport]:
    """Prune the dense `model` in place and return a report for each linear; the reached sparsity is the asked one.

    Args:
        config: its method, sparsity, weight, reconstruct and batch_size count.
        model: with dense weights.
        calibration: None where pruning looks at no inputs.
        dense_inputs: the statistics of the dense model by a calibration set; None where blocks see pruned ones.
        on_block: told of the progress.
        on_mask: given each mask.

    Raises:
        UserError: the model, the calibration set and what is asked for do not fit.
    """
    from prune.pruning.allocation import allocate
    from prune.pruning.weighted_set import weighted

    counted = calibration and weighted(calibration, build_weights(config.weight))
    method = build_method(config.method)
    patterns = allocate(model, config.method, config.sparsity, counted, batch_size=config.batch_size, on_block=on_block)
    inputs = (dense_inputs(counted) or counted) if counted else None
    return prune_by(config, model, (method, patterns, inputs), calibration, on_block=on_block, on_mask=on_mask)


def check_sparser(config: Config, loaded: "LoadedModel") -> None:
    """Make sure that more is asked for than is 0 already in a model that was just loaded, before anything is computed.

    Raises:
        UserError: no more is.
    """
    from prune.pruning.allocation import count_zeros

    sparsity = config.sparsity
    if isinstance(config.method, DenseConfig) or isinstance(sparsity, DropConfig) or config.merge.cells:
        return
    if loaded.share_zero > 0:
        check_zeros(*count_zeros(loaded.model), config)


def prune_by(
    config: Config,
    model: "PreTrainedModel",
    how: "tuple[Method, Mapping[str, Pattern], CalibrationSet | Inputs | None]",
    calibration: "CalibrationSet | None",
    *,
    on_block: OnBlock,
    on_mask: OnMask,
) -> list[LinearReport]:
    """Prune the dense `model` in place by a method, the pattern of each linear, and inputs; check what was reached."""
    from prune.pruning.expert_inputs import rule_of
    from prune.pruning.layerwise import check_reached, prune_model

    method, patterns, inputs = how
    reports = prune_model(
        model,
        inputs,
        method,
        patterns,
        batch_size=config.batch_size,
        seed=config.calib.seed,
        experts=rule_of(config.method),
        reconstruction=_reconstruction(config, model, calibration),
        on_block=on_block,
        on_mask=on_mask,
    )
    check_reached(patterns, method, reports)
    return reports


def own_dense_inputs(config: Config, model: "PreTrainedModel", calibration: "CalibrationSet") -> "DenseInputs | None":
    """The statistics of the dense `model`, collected block by block and kept by nobody; None where blocks see pruned ones.

    Raises:
        UserError: the calibration set does not fit the model.
    """
    from prune.lazy import torch
    from prune.pruning.expert_inputs import rule_of
    from prune.pruning.hidden_states import Walk
    from prune.pruning.propagation import DenseInputs

    if propagation(config) is not Propagation.dense:
        return None
    with torch.no_grad():
        walk = Walk(model, calibration, batch_size=config.batch_size, experts=rule_of(config.method))
    return DenseInputs(walk, build_method(config.method))


def _reconstruction(
    config: Config, model: "PreTrainedModel", calibration: "CalibrationSet | None"
) -> "Callable[[Iterable[str]], Reconstruction] | None":
    """Makes the refit of the kept weights from the names of the pruned linears; None where nothing is refitted."""
    from prune.pruning.reconstruct import Reconstruction

    knobs = reconstruction(config)
    if knobs is None or calibration is None:
        return None
    return lambda pruned: Reconstruction(model, calibration, knobs, pruned)
