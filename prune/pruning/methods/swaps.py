"""SparseSwaps (Zimmer et al. 2025, arXiv 2512.10922): the best swap of each row, again and again, as long as it gains.

prune/pruning/solver/swap_search.py has the search; start.py the masks that it starts from.

Shapes: O out, I in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.checks import require_at_least
from prune.config.method import MethodConfig
from prune.lazy import torch
from prune.pruning.method import Pruned, Statistic, finite_weight, masked
from prune.pruning.methods.start import Start, scored_mask, solved_mask, start_num_compared
from prune.pruning.solver.hessian import Hessian, products_flops
from prune.pruning.solver.swap_search import swap
from prune.pruning.sparsity import Pattern

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class SwapsConfig(MethodConfig):
    """Improves another method's mask by swaps of a kept and a removed weight that lower the squared output error."""

    name: str = "swaps"
    start: Start = Start.wanda
    """Whose mask is improved; always the mask on the dense weights, also SparseGPT's."""
    max_sweeps: int = 100
    """At most this many swaps in a row of the matrix; a row is done earlier when no swap lowers its error. 0: the mask as
    it is."""

    def num_compared(self, num_outputs: int, num_inputs: int) -> int:
        """The weights that share a threshold of the start."""
        return start_num_compared(self.start, num_outputs, num_inputs)

    def statistic_flops(self, num_inputs: int, num_tokens: int) -> float:
        """The Gram matrix."""
        return products_flops(num_inputs, num_tokens)

    def __post_init__(self) -> None:
        require_at_least("method.max_sweeps", self.max_sweeps, 0)


@dataclass(frozen=True)
class Swaps:
    """Of a given mask the best pair of each row is swapped, one a sweep: all pairs are looked at, by the Gram matrix.

    Each row keeps its count, or each group of N:M. No row's squared error on the calibration tokens rises. The Gram matrix
    is the Hessian of SparseGPT, which it shares; the weights that stay are the dense ones.
    """

    start: Start = Start.wanda
    """Whose mask is improved."""
    max_sweeps: int = 100
    """Most swaps in a row."""
    name: ClassVar[str] = "swaps"
    needs_inputs: ClassVar[bool] = True
    gathers_hessian: ClassVar[bool] = True

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """An empty Hessian."""
        return Hessian(num_inputs, device)

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """The weights without the removed ones R, the others untouched; the error is tr(R H R^T) / tr(W H W^T)."""
        assert isinstance(statistic, Hessian), type(statistic)
        pattern.check(weight_OI.shape[1], "the linear")
        gram_II, wide_OI = statistic.hessian(), finite_weight(weight_OI)
        mask_OI = (
            solved_mask(weight_OI, statistic, pattern)
            if self.start is Start.sparsegpt
            else scored_mask(self.start, weight_OI, gram_II.diagonal().sqrt(), pattern)
        )
        dtype = torch.promote_types(gram_II.dtype, wide_OI.dtype)
        gram_II, wide_OI = gram_II.to(dtype), wide_OI.to(dtype)
        mask_OI, _ = swap(wide_OI, mask_OI, gram_II, pattern, self.max_sweeps)
        removed, total = statistic.squared_outputs([wide_OI * mask_OI]), statistic.squared_outputs([wide_OI])
        return masked(weight_OI.detach(), mask_OI, error=removed[0] / total[0] if total[0] else 0.0)
