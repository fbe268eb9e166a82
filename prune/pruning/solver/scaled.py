"""The problem of one layer with inputs of norm 1, as the solvers by operator splitting (ALPS, ADMM) take it.

With s_j the root of H_jj, the weights w_ij s_j and the matrix H_jk / (s_j s_k) give the same error of the outputs, and the
matrix has 1 on its diagonal: magnitudes of weights can be compared, and one penalty serves every linear.

Shapes: O out, I in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from prune.errors import UserError
from prune.lazy import torch
from prune.pruning.method import Pruned, all_finite, finite_weight, without
from prune.pruning.sparsity import Pattern, zeros_to_keep

if TYPE_CHECKING:
    from torch import Tensor

    from prune.pruning.solver.hessian import Hessian

Solve: TypeAlias = "Callable[[Tensor, Pattern, Tensor | None], tuple[Tensor, Tensor]]"
"""(scaled weights O x I, pattern, zeros to keep or None) -> (new scaled weights, mask): a solver for one Hessian."""


def prune_scaled(
    weights: Sequence[Tensor],
    statistic: Hessian,
    patterns: Sequence[Pattern],
    damping: float,
    prepare: Callable[[Tensor], Solve],
) -> list[Pruned]:
    """Linears that share their inputs, each pruned by the solver that `prepare` makes of the scaled Hessian.

    `damping` is added to the diagonal of H, as a share of its mean, before it is scaled. Dead inputs are handled as
    SparseGPT does: their weights are 0 before the solver looks, so that they go first, and stay 0 where more are dead than
    may go. Solved in float32 (float64 where weights or inputs are), rounded to the weights' type at the end. The error is
    tr(D H D^T) / tr(W H W^T), D = new - old weights, H undamped.

    Raises:
        UserError: see `Method.prune`; also, new weights overflow the weights' type.
    """
    for weight_OI, pattern in zip(weights, patterns, strict=True):
        pattern.check(weight_OI.shape[1], "the linear")
    finite = [finite_weight(weight_OI) for weight_OI in weights]
    hessian_II = statistic.hessian()
    hessian_II = hessian_II.to(torch.promote_types(finite[0].dtype, hessian_II.dtype))
    hessian_II.diagonal().add_(damping * hessian_II.diagonal().mean())
    dead_I, scale_I = statistic.dead_inputs(), hessian_II.diagonal().sqrt()
    scale_I.masked_fill_(scale_I == 0, 1)
    solve = prepare(hessian_II.div_(scale_I).div_(scale_I[:, None]))
    pruned: list[Pruned] = []
    for weight_OI, pattern in zip(finite, patterns, strict=True):
        start_OI = (weight_OI.to(hessian_II.dtype) * scale_I).masked_fill_(dead_I, 0)
        new_OI, mask_OI = solve(start_OI, pattern, zeros_to_keep(weight_OI, pattern))
        final_OI = _rounded(without(new_OI / scale_I, mask_OI | dead_I), weights[len(pruned)].dtype)
        pruned.append(Pruned(final_OI, mask_OI, statistic.output_error(weight_OI, final_OI)))
    return pruned


def _rounded(solved_OI: Tensor, dtype: torch.dtype) -> Tensor:
    new_OI = solved_OI.to(dtype)
    if not all_finite(new_OI):
        raise UserError(
            f"new weights overflow {dtype}: damp more (method.damping), or load the model in a wider type "
            "(model.dtype=float32)."
        )
    return new_OI
