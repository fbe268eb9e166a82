"""SparseGPT (Frantar & Alistarh 2023, arXiv 2301.00774): prune column by column and let the later columns make up for it.

prune/pruning/solver/hessian.py has the statistic, prune/pruning/solver/column_sweep.py the sweep over the columns.

Shapes: O out, I in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.checks import require_at_least, require_damping
from prune.config.method import MethodConfig
from prune.errors import UserError
from prune.lazy import torch
from prune.pruning.method import Pruned, Statistic, all_finite, finite_weight
from prune.pruning.solver.column_sweep import Swept, column_sweep, whole_groups
from prune.pruning.solver.hessian import Hessian, more_damping, products_flops, root_flops
from prune.pruning.sparsity import Pattern, zeros_to_keep

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class SparseGPTConfig(MethodConfig):
    """Removes weights by the optimal brain surgeon's error and corrects the others."""

    name: str = "sparsegpt"
    damping: float = 0.01
    """Added to the Hessian's diagonal, as a share of its mean."""
    block_size: int = 128
    """Columns that share one threshold."""

    def num_compared(self, num_outputs: int, num_inputs: int) -> int:
        """The weights of a block of columns."""
        return num_outputs * min(num_inputs, self.block_size)

    def statistic_flops(self, num_inputs: int, num_tokens: int) -> float:
        """The Hessian and its Cholesky factor."""
        return products_flops(num_inputs, num_tokens) + root_flops(num_inputs)

    def solve_flops(self, num_outputs: int, num_inputs: int) -> float:
        """The sweep over the columns and the outputs that the error is relative to, twice, as both go in narrow blocks."""
        return float(4 * num_outputs * num_inputs**2)

    def __post_init__(self) -> None:
        require_damping(self.damping, 0.01)
        require_at_least("method.block_size", self.block_size, 1)


@dataclass(frozen=True)
class SparseGPT:
    """Score W_ij^2 / U_jj^2, on weights that already make up for the columns before.

    Unstructured: one threshold for all rows of a block of `block_size` columns. N:M: the N lowest of each group, scored when
    the sweep reaches the group. Dead inputs are handled as in the reference (IST-DASLab/sparsegpt, sparsegpt.py): their
    weights are 0 before scoring, so that they go first, and stay 0 where more are dead than may go.

    Differences from the reference. It removes every score <= sort(scores)[int(O * B * ratio)] of a block, so at least one
    weight more; here the count is exact, and the lower index (row by row) goes first. Where O * B * ratio is not whole,
    counts are rounded on the running total, so that the matrix loses exactly int(O * I * ratio). Groups of N:M never
    straddle two blocks: a block is shortened to whole groups, which changes no result, as blocks only postpone updates.
    Zeros that are preserved go first, and a block loses its share of the others that go, by its share of the others.
    """

    damping: float = 0.01
    """Added to the diagonal of H, as a share of its mean."""
    block_size: int = 128
    """Columns that share one threshold."""
    name: ClassVar[str] = "sparsegpt"
    needs_inputs: ClassVar[bool] = True
    gathers_hessian: ClassVar[bool] = True

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """An empty Hessian."""
        return Hessian(num_inputs, device)

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """The weights without the removed ones, the others corrected; see `prune_group`."""
        return self._prune([weight_OI], statistic, [pattern])[0]

    def prune_group(
        self, weights: Mapping[str, Tensor], statistic: Statistic | None, patterns: Sequence[Pattern]
    ) -> list[Pruned]:
        """Linears that share their inputs, each without its removed weights, the others corrected.

        Equal to pruning one after the other but for rounding: the rows of a linear do not depend on those of another.
        Solved in float32 (float64 where weights or inputs are) and rounded to the weights' type at the end. The error is
        tr(D H D^T) / tr(W H W^T), D = new - old weights before that rounding: the calibration tokens' own.

        Raises:
            UserError: see `Method.prune`; also, H is singular, or a corrected weight overflows the weights' type.
        """
        return self._prune(list(weights.values()), statistic, patterns, list(weights))

    def _prune(
        self,
        weights: Sequence[Tensor],
        statistic: Statistic | None,
        patterns: Sequence[Pattern],
        names: Sequence[str] | None = None,
    ) -> list[Pruned]:
        assert isinstance(statistic, Hessian), type(statistic)
        for weight_OI, pattern in zip(weights, patterns, strict=True):
            pattern.check(weight_OI.shape[1], "the linear")
        finite = [finite_weight(weight_OI) for weight_OI in weights]
        block_size = whole_groups(patterns, self.block_size)
        factor = statistic.factor(self.damping, block_size)
        dtype = torch.promote_types(finite[0].dtype, factor.blocks_II.dtype)
        old = [weight_OI.to(dtype) for weight_OI in finite]
        if bool((dead_I := statistic.dead_inputs()).any()):
            old = [weight_OI.masked_fill(dead_I, 0) for weight_OI in old]
        zeros = [zeros_to_keep(weight_OI, pattern) for weight_OI, pattern in zip(finite, patterns, strict=True)]
        done = column_sweep(old, patterns, factor.blocks_II.to(dtype), block_size, zeros)
        named = names and dict(zip(names, old, strict=True))
        totals = statistic.dense_outputs(named) if named else statistic.squared_outputs(old)
        return [
            Pruned(self._rounded(swept.weight_OI, weight_OI.dtype), swept.mask_OI, _error(swept, factor.damping, total))
            for swept, weight_OI, total in zip(done, weights, totals, strict=True)
        ]

    def _rounded(self, solved_OI: Tensor, dtype: torch.dtype) -> Tensor:
        new_OI = solved_OI.to(dtype)
        if not all_finite(new_OI):
            raise UserError(
                f"corrected weights overflow {dtype} with method.damping={self.damping:g}: damp more "
                f"(method.damping={more_damping(self.damping):g}) or load the model in a wider type (model.dtype=float32)."
            )
        return new_OI


def _error(swept: Swept, damping: float, total: float) -> float:
    """tr(D H D^T) / tr(W H W^T): the errors e count H as damped, so what the damping added is taken off."""
    return max(swept.squared_error - damping * swept.squared_change, 0.0) / total if total else 0.0
