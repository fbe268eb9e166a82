"""Masks that a method improves: those that other methods choose, on the dense weights.

Shapes: O out, I in. In every mask True = removed.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from prune.lazy import torch
from prune.pruning.method import finite_weight
from prune.pruning.methods.ria import RIA, relative_importance
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.sparsity import NM, Pattern, lowest_in_groups, lowest_in_rows

if TYPE_CHECKING:
    from torch import Tensor

    from prune.pruning.solver.hessian import Hessian


class Start(str, Enum):
    """Whose mask is improved."""

    magnitude = "magnitude"
    wanda = "wanda"
    ria = "ria"
    sparsegpt = "sparsegpt"


def start_num_compared(start: Start, num_outputs: int, num_inputs: int) -> int:
    """How many weights share one threshold: those of a row, or of SparseGPT's block of columns."""
    if start is Start.sparsegpt:
        return num_outputs * min(num_inputs, SparseGPT().block_size)
    return num_inputs


def scored_mask(start: Start, weight_OI: Tensor, norm_I: Tensor, pattern: Pattern) -> Tensor:
    """The mask by a score, O x I: N of each group of N:M, else int(I * ratio) of each row.

    Magnitude and RIA alone compare all weights of a linear; here, as in the papers that improve masks, each row loses the
    same. `norm_I` are the norms of the inputs, or any multiple of them.
    """
    size_OI = finite_weight(weight_OI).abs()
    if start is Start.wanda:
        score_OI = size_OI * norm_I
    elif start is Start.ria:
        score_OI = relative_importance(size_OI) * norm_I ** RIA().power
    else:
        assert start is Start.magnitude, start
        score_OI = size_OI
    if isinstance(pattern, NM):
        return lowest_in_groups(score_OI, pattern)
    return lowest_in_rows(score_OI, pattern.num_removed(score_OI.shape[1]))


def solved_mask(weight_OI: Tensor, hessian: Hessian, pattern: Pattern) -> Tensor:
    """SparseGPT's mask with its default knobs, O x I; the weights that it corrects are not used.

    Raises:
        UserError: see `SparseGPT.prune`.
    """
    return SparseGPT().prune(weight_OI, hessian, pattern, torch.Generator()).mask_OI
