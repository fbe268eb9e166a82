"""ADMM (Boza 2024, arXiv 2401.02938): the weights by operator splitting while the mask grows to the asked sparsity, on the
Hessian that SparseGPT gathers.

Shapes: O out, I in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.checks import reject, require_at_least, require_damping
from prune.config.method import MethodConfig
from prune.lazy import torch
from prune.pruning.method import Pruned, Statistic, without
from prune.pruning.solver.hessian import Hessian, products_flops, root_flops
from prune.pruning.solver.scaled import prune_scaled
from prune.pruning.sparsity import NM, Pattern, lowest_in_groups, lowest_in_matrix, smallest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class ADMMConfig(MethodConfig):
    """Updates the weights by operator splitting (ADMM) under a mask that grows; on SparseGPT's Hessian."""

    name: str = "admm"
    damping: float = 0.1
    """Added to the diagonal of the Hessian, which is scaled to 1."""
    penalty: float = 1.0
    """The penalty rho, for that Hessian."""
    iterations: int = 20
    """Iterations of ADMM."""
    mask_steps: int = 15
    """The first iterations, in which the mask grows and may change; 0: the smallest scaled weights, from the start."""
    authors_code: bool = False
    """The rules of the authors' code where they are not the paper's: see the class ADMM."""

    def statistic_flops(self, num_inputs: int, num_tokens: int) -> float:
        """The Hessian, and what is factorised of it."""
        return products_flops(num_inputs, num_tokens) + root_flops(num_inputs)

    def solve_flops(self, num_outputs: int, num_inputs: int) -> float:
        """A product with an inverse in each iteration."""
        return float(2 * num_outputs * num_inputs**2 * self.iterations)

    def __post_init__(self) -> None:
        require_damping(self.damping, 0.1)
        if not 0 < self.penalty < math.inf:
            reject("method.penalty", self.penalty, "it must be a number above 0, as in method.penalty=1")
        require_at_least("method.iterations", self.iterations, 1)
        require_at_least("method.mask_steps", self.mask_steps, 0)
        if self.mask_steps > self.iterations:
            reject("method.mask_steps", self.mask_steps, f"it must be at most method.iterations={self.iterations}")


@dataclass(frozen=True)
class ADMM:
    """min tr((W - V) H (W - V)^T) over V that are 0 under the mask, H scaled to 1 on its diagonal and then damped.

    From V = W and a dual of 0, `iterations` times: the mask, in step i of the first `mask_steps`, is that of the
    ratio * (1 - (1 - i / mask_steps)^3) smallest of V + dual; Z = V + dual under the mask; dual = V + dual - Z;
    V = (W H + rho (Z - dual))(H + rho I)^-1. The result is V + dual under the last mask. Unstructured: step i removes
    int(O * I * its ratio) of the whole matrix; N:M: that many of the weights that are among the N smallest of their group.
    One inverse serves all linears that share their inputs.

    The authors' code (fmfi-compbio/admm-pruning, lib/admm.py) computes the growing ratio and then takes the asked one in
    every step when it compares the whole matrix, which is its default: `authors_code` does so. Its N:M branch grows as here;
    it cuts groups of 4, whatever N:M is asked for. It adds 1e-8 to the norms.
    With it, the code gives the same masks, and weights up to float32's rounding (1e-5).
    The paper's own text was not at hand: what is called its rule is what the code's other branches and the paper's summaries
    (gradual pruning) agree on.
    """

    damping: float = 0.1
    penalty: float = 1.0
    iterations: int = 20
    mask_steps: int = 15
    authors_code: bool = False
    name: ClassVar[str] = "admm"
    needs_inputs: ClassVar[bool] = True
    gathers_hessian: ClassVar[bool] = True

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """An empty Hessian."""
        return Hessian(num_inputs, device)

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """See `prune_group`."""
        return self._prune([weight_OI], statistic, [pattern])[0]

    def prune_group(
        self, weights: Mapping[str, Tensor], statistic: Statistic | None, patterns: Sequence[Pattern]
    ) -> list[Pruned]:
        """Linears that share their inputs, one after the other, from one inverse.

        Raises:
            UserError: see `prune.pruning.solver.scaled.prune_scaled`.
        """
        return self._prune(list(weights.values()), statistic, patterns)

    def _prune(self, weights: Sequence[Tensor], statistic: Statistic | None, patterns: Sequence[Pattern]) -> list[Pruned]:
        assert isinstance(statistic, Hessian), type(statistic)
        return prune_scaled(weights, statistic, patterns, 0.0, lambda hessian_II: Problem(self, hessian_II).solve)


class Problem:
    """All linears of one scaled Hessian."""

    def __init__(self, knobs: ADMM, hessian_II: Tensor) -> None:
        self._knobs, self._hessian_II = knobs, hessian_II
        hessian_II.diagonal().add_(knobs.damping)
        regular_II = hessian_II.clone()
        regular_II.diagonal().add_(knobs.penalty)
        self._inverse_II = torch.cholesky_inverse(torch.linalg.cholesky(regular_II))

    def solve(self, dense_OI: Tensor, pattern: Pattern, zero_OI: Tensor | None) -> tuple[Tensor, Tensor]:
        """(new weights, mask)."""
        knobs, target_OI = self._knobs, dense_OI @ self._hessian_II
        size_OI, right_OI, total_OI = torch.abs(dense_OI), torch.empty_like(dense_OI), dense_OI.clone()
        mask_OI = smallest(size_OI, pattern, zero_OI)
        for iteration in range(1, knobs.iterations + 1):
            if iteration <= knobs.mask_steps:
                mask_OI = self._mask(torch.abs(total_OI, out=size_OI), pattern, zero_OI, iteration)
            kept_OI = torch.mul(total_OI, ~mask_OI, out=size_OI)
            torch.sub(target_OI, total_OI, alpha=knobs.penalty, out=right_OI).add_(kept_OI, alpha=2 * knobs.penalty)
            total_OI.sub_(kept_OI).addmm_(right_OI, self._inverse_II)  # the dual, and V beside it
        return without(total_OI, mask_OI), mask_OI

    def _mask(self, size_OI: Tensor, pattern: Pattern, zero_OI: Tensor | None, step: int) -> Tensor:
        """Of the step's ratio, zeros first; in step `mask_steps` the asked one."""
        knobs = self._knobs
        if step == knobs.mask_steps or (knobs.authors_code and not isinstance(pattern, NM)):
            return smallest(size_OI, pattern, zero_OI)
        if zero_OI is not None:
            size_OI = size_OI.masked_fill(zero_OI, -1)
        ratio = pattern.ratio * (1 - (1 - step / knobs.mask_steps) ** 3)
        if isinstance(pattern, NM):
            size_OI = size_OI.masked_fill(~lowest_in_groups(size_OI, pattern), torch.inf)
        mask_OI = lowest_in_matrix(size_OI, int(size_OI.numel() * ratio))
        return mask_OI if zero_OI is None else mask_OI | zero_OI
