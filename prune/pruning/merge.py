"""The average of pruned models' weights.

Shapes: O out, I in.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prune.errors import UserError
from prune.models.blocks import named_linears, read_weight, write_weight
from prune.pruning.saved import Weights, saved_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet


def average_pruned(model: "PreTrainedModel", saved: Mapping[Path, str], shares: Sequence[float]) -> None:
    """Give the dense `model` the weighted mean of the weights that folders keep: sum of share x weight, in float32.

    A linear is averaged at a time. One that no folder pruned stays as it is.

    Args:
        saved: folder of a cell -> the hash of the weights that it kept.
        shares: one for each folder, 1 in all.

    Raises:
        UserError: a folder does not give the weights with its hash on this model.
    """
    several = [_read(folder, model, sha256) for folder, sha256 in saved.items()]
    for name, linear in named_linears(model).items():
        dense_OI = read_weight(linear)
        if any(name in weights for weights in several):
            each = [weights[name]().to(dense_OI.device) if name in weights else dense_OI for weights in several]
            mean_OI = _mean(each, shares)
            write_weight(linear, mean_OI.to(dense_OI.dtype))


def _read(folder: Path, model: "PreTrainedModel", sha256: str) -> Weights:
    weights = saved_weights(folder, model, sha256)
    if weights is None:
        raise UserError(
            f"The weights that {folder} gives are not those that its cell was scored with, {sha256[:12]}. Run that cell "
            "again with save=model: a mask is enough only for methods that do nothing but remove."
        )
    return weights


def _mean(weights: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    wide = torch.promote_types(weights[0].dtype, torch.float32)
    return sum((share * weight.to(wide) for weight, share in zip(weights, shares, strict=True)), torch.zeros((), dtype=wide))


def stack_sets(sets: "Sequence[CalibrationSet]") -> "CalibrationSet":
    """The samples of all sets as one.

    Raises:
        UserError: they differ in length.
    """
    from prune.calib.calibration_set import CalibrationSet

    lengths = {calibration.tokens_NL.shape[1] for calibration in sets}
    if len(lengths) > 1:
        raise UserError(
            f"merge.back=wanda looks at the calibration sets of all cells together, and theirs are {sorted(lengths)} tokens "
            "long. Merge cells of one calib.seq_len, or take merge.back=magnitude."
        )
    tokens_NL, real_NL, weights_NL = (
        torch.cat([getattr(calibration, name) for calibration in sets]) for name in ("tokens_NL", "real_NL", "weights_NL")
    )
    return CalibrationSet(tokens_NL, real_NL, weights_NL)
