"""ALPS (Meng et al. 2024, arXiv 2406.07831): the support by ADMM with a growing penalty, the weights on it by conjugate
gradients, both on the Hessian that SparseGPT gathers.

Shapes: O out, I in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from prune.config.checks import reject, require_at_least, require_damping
from prune.config.method import MethodConfig
from prune.lazy import torch
from prune.pruning.method import Pruned, Statistic, without
from prune.pruning.solver.hessian import Hessian, products_flops, root_flops
from prune.pruning.solver.scaled import prune_scaled
from prune.pruning.sparsity import Pattern, smallest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class ALPSConfig(MethodConfig):
    """Finds the support by operator splitting (ADMM) and refits the weights on it; on SparseGPT's Hessian, much slower."""

    name: str = "alps"
    damping: float = 0.01
    """Added to the Hessian's diagonal, as a share of its mean."""
    penalty: float = 0.1
    """The first penalty rho, for a Hessian with 1 on its diagonal."""
    max_iterations: int = 300
    """Iterations after which the support is taken as it is."""
    update_every: int = 3
    """Iterations from one look at the support, and update of the penalty, to the next."""
    cg_steps: int = 10
    """Steps of conjugate gradients on the support; 0 leaves the weights as ADMM has them."""
    authors_code: bool = False
    """The rules of the authors' code where they are not the paper's: see the class ALPS."""

    def statistic_flops(self, num_inputs: int, num_tokens: int) -> float:
        """The Hessian, and what is factorised of it."""
        return products_flops(num_inputs, num_tokens) + root_flops(num_inputs)

    def solve_flops(self, num_outputs: int, num_inputs: int) -> float:
        """As many iterations as linears take as a rule, each a product with an inverse."""
        num_iterations = min(self.max_iterations, USUAL_ITERATIONS)
        return float(2 * num_outputs * num_inputs**2 * (num_iterations + self.cg_steps))

    def __post_init__(self) -> None:
        require_damping(self.damping, 0.01)
        if not 0 < self.penalty < math.inf:
            reject("method.penalty", self.penalty, "it must be a number above 0, as in method.penalty=0.1")
        require_at_least("method.max_iterations", self.max_iterations, 1)
        require_at_least("method.update_every", self.update_every, 1)
        require_at_least("method.cg_steps", self.cg_steps, 0)


GROWTH = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))
"""(share of the kept weights, factor): the penalty grows by the first factor above whose share the support changed."""
USUAL_ITERATIONS = 40
"""What a plan counts: 36 on average at 70 % (bench/results/iterative.json)."""
MAX_PENALTY = 1e6
RESTART_DIVISOR = 5
"""authors_code: what a first penalty that changes too little is divided by."""
SETTLED = (30, 0.0003)
"""authors_code: after this many iterations, a change smaller than this share of the kept weights ends the search."""


class Step(Enum):
    """What follows a look at the support."""

    go_on = "go on"
    restart = "restart"
    stop = "stop"


@dataclass
class Penalty:
    """rho, and the rule by which it changes."""

    value: float
    authors_code: bool
    has_grown: bool = False

    def update(self, num_changed: int, num_kept: int, iteration: int) -> Step:
        """Change rho for a support of `num_kept` weights of which `num_changed` came or went since the last look."""
        share = num_changed / num_kept
        if self.authors_code and not self.has_grown and share <= GROWTH[1][0]:
            self.value /= RESTART_DIVISOR
            return Step.restart if num_changed else Step.go_on
        if num_changed == 0:
            return Step.stop
        self.has_grown = True
        factor = next(factor for least, factor in GROWTH if share > least)
        self.value = min(self.value * factor, MAX_PENALTY)
        is_settled = self.authors_code and iteration > SETTLED[0] and share < SETTLED[1]
        return Step.stop if is_settled else Step.go_on


@dataclass(frozen=True)
class Solved:
    """A linear in scaled weights."""

    weight_OI: Tensor
    mask_OI: Tensor
    num_iterations: int
    """Iterations of ADMM, restarts included."""
    num_inverses: int
    """Of (H + rho I)."""


@dataclass(frozen=True)
class ALPS:
    """min tr((W - V) H (W - V)^T) over V of the asked count of zeros, H damped and scaled to 1 on its diagonal.

    ADMM, from D the largest weights and a dual of 0: B = (W H - dual + rho D)(H + rho I)^-1; D = the largest of
    B + dual / rho; dual += rho (B - D). Every `update_every` iterations rho grows by 1.3, 1.2 or 1.1 where more than 10 %,
    0.5 % or 0 of the kept weights changed since the last look; where none did, D's support is the answer, and `cg_steps`
    steps of conjugate gradients from D refit the weights on it, each output with step lengths of its own. The paper's
    preconditioner is the diagonal of H, which the scaling has made 1. One decomposition of H serves all linears that share
    it, and every rho. Unstructured: the int(O * I * ratio) smallest of the matrix go; N:M: the N smallest of each group.

    The authors' code (mazumder-lab/ALPS, alps.py) has more, which `authors_code` turns on: as long as rho has not grown and
    at most 0.5 % changed, it is divided by 5, and ADMM begins again (goes on where nothing changed); the search ends, too,
    after 30 iterations with a change below 0.03 %; and the support is that of B, not of D. With it, the code run in float64
    gives the same masks and weights up to rounding (1e-13). What differs either way: the code keeps
    round(O * I * (1 - ratio)) weights, adds 1e-8 to the scale, and looks whether conjugate gradients may end early.
    The paper's own text was not at hand: what is called its rule is what the code and the paper's summaries agree on.
    """

    damping: float = 0.01
    penalty: float = 0.1
    max_iterations: int = 300
    update_every: int = 3
    cg_steps: int = 10
    authors_code: bool = False
    name: ClassVar[str] = "alps"
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
        """Linears that share their inputs, one after the other, from one decomposition.

        Raises:
            UserError: see `prune.pruning.solver.scaled.prune_scaled`.
        """
        return self._prune(list(weights.values()), statistic, patterns)

    def _prune(self, weights: Sequence[Tensor], statistic: Statistic | None, patterns: Sequence[Pattern]) -> list[Pruned]:
        assert isinstance(statistic, Hessian), type(statistic)
        return prune_scaled(weights, statistic, patterns, self.damping, lambda hessian_II: Problem(self, hessian_II).solve)


class _State:
    """B, D and the dual of ADMM, each in the same memory from iteration to iteration: fresh memory costs as much as sums."""

    def __init__(self, kept_OI: Tensor) -> None:
        self.kept_OI, self._dual_OI = kept_OI, torch.zeros_like(kept_OI)
        self.free_OI = kept_OI.clone()  # a restart may be the last thing that happens
        self._total_OI, self._size_OI = torch.empty_like(kept_OI), torch.empty_like(kept_OI)

    def advance(self, target_OI: Tensor, inverse_II: Tensor, penalty: float, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """The mask after one iteration."""
        right_OI = torch.sub(target_OI, self._dual_OI, out=self._total_OI).add_(self.kept_OI, alpha=penalty)
        torch.mm(right_OI, inverse_II, out=self.free_OI)
        torch.add(self.free_OI, self._dual_OI, alpha=1 / penalty, out=self._total_OI)
        mask_OI = choose(torch.abs(self._total_OI, out=self._size_OI))
        torch.mul(self._total_OI, ~mask_OI, out=self.kept_OI)
        torch.sub(self._total_OI, self.kept_OI, out=self._dual_OI).mul_(penalty)
        return mask_OI


class Problem:
    """All linears of one scaled Hessian."""

    def __init__(self, knobs: ALPS, hessian_II: Tensor) -> None:
        self._knobs, self.hessian_II = knobs, hessian_II
        self._values_I, self._vectors_II = torch.linalg.eigh(hessian_II.double())

    def solve(self, dense_OI: Tensor, pattern: Pattern, zero_OI: Tensor | None) -> tuple[Tensor, Tensor]:
        """(new weights, mask)."""
        solved = self.search(dense_OI, pattern, zero_OI)
        return refit(solved.weight_OI, solved.mask_OI, dense_OI, self.hessian_II, self._knobs.cg_steps), solved.mask_OI

    def search(self, dense_OI: Tensor, pattern: Pattern, zero_OI: Tensor | None) -> Solved:
        """The support by ADMM, and the weights that conjugate gradients begin with."""

        def choose(size_OI: Tensor) -> Tensor:
            return smallest(size_OI, pattern, zero_OI)

        knobs, target_OI = self._knobs, dense_OI @ self.hessian_II
        penalty, num_inverses = Penalty(knobs.penalty, knobs.authors_code), 1
        inverse_II = self.inverse(penalty.value)
        first_OI = before_OI = choose(dense_OI.abs())
        num_kept = max(first_OI.numel() - int(first_OI.count_nonzero()), 1)
        state = _State(without(dense_OI, first_OI))
        for iteration in range(1, knobs.max_iterations + 1):
            mask_OI = state.advance(target_OI, inverse_II, penalty.value, choose)
            if iteration % knobs.update_every:
                continue
            num_changed, before_OI = int((mask_OI ^ before_OI).count_nonzero()), mask_OI
            step = penalty.update(num_changed, num_kept, iteration)
            if step is Step.stop:
                break
            if step is Step.restart:
                state = _State(without(dense_OI, first_OI))
            inverse_II, num_inverses = self.inverse(penalty.value), num_inverses + 1
        if knobs.authors_code:
            mask_OI = choose(state.free_OI.abs())
            return Solved(without(state.free_OI, mask_OI), mask_OI, iteration, num_inverses)
        return Solved(state.kept_OI.add_(0), mask_OI, iteration, num_inverses)

    def inverse(self, penalty: float) -> Tensor:
        """(H + rho I)^-1, in H's type."""
        scaled_II = (self._vectors_II * (self._values_I + penalty).rsqrt()).to(self.hessian_II.dtype)
        inverse_II: Tensor = scaled_II @ scaled_II.T
        return inverse_II


def refit(weight_OI: Tensor, mask_OI: Tensor, dense_OI: Tensor, hessian_II: Tensor, num_steps: int) -> Tensor:
    """The kept weights after steps of conjugate gradients towards the least tr((W - V) H (W - V)^T); each output alone.

    `weight_OI` is where they begin, 0 where the mask is True.
    """
    keeps_OI = ~mask_OI
    weight_OI = weight_OI.clone()
    residual_OI = (dense_OI - weight_OI) @ hessian_II * keeps_OI
    direction_OI, squared_O1 = residual_OI.clone(), residual_OI.square().sum(dim=1, keepdim=True)
    for _ in range(num_steps):
        product_OI = direction_OI @ hessian_II
        curvature_O1 = (direction_OI * product_OI).sum(dim=1, keepdim=True)
        length_O1 = squared_O1 / curvature_O1.masked_fill(curvature_O1 == 0, 1)
        weight_OI.addcmul_(direction_OI, length_O1)
        residual_OI.addcmul_(product_OI, length_O1, value=-1).mul_(keeps_OI)
        before_O1, squared_O1 = squared_O1, residual_OI.square().sum(dim=1, keepdim=True)
        direction_OI.mul_(squared_O1 / before_O1.masked_fill(before_O1 == 0, 1)).add_(residual_OI)
    return weight_OI
