"""DSnoT (Zhang et al. 2023, Dynamic Sparse no Training, arXiv 2310.08915): swaps that bring a mask's mean output error to 0.

Masks equal those of the authors' code (zyxxmu/DSnoT) where that keeps its counts; docs/methods_masks.md lists what differs.

Shapes: O out, I in, T tokens, S candidates of a row, of either sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from prune.config.checks import reject, require_at_least
from prune.config.method import MethodConfig
from prune.config.sparsity import NMConfig, SparsityConfig
from prune.lazy import torch
from prune.pruning.method import Pruned, Statistic, finite_weight, masked, weighted
from prune.pruning.methods.start import Start, scored_mask, solved_mask, start_num_compared
from prune.pruning.methods.wanda import ROWS_AT_ONCE, InputNorms
from prune.pruning.solver.hessian import Hessian
from prune.pruning.sparsity import NM, Pattern, lowest_in_rows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class DSnoTConfig(MethodConfig):
    """Improves another method's mask by swaps that bring the mean output error of each row towards 0."""

    name: str = "dsnot"
    start: Start = Start.wanda
    """Whose mask is improved; always the mask on the dense weights, also SparseGPT's."""
    max_cycles: int = 50
    """At most this many swaps in a row of the matrix. 0: the mask as it is."""
    threshold: float = 0.1
    """A row is done when its expected error is at most this."""
    sum_over: int = 2048
    """Tokens over which the expected error is summed before it is compared with `threshold`: in the authors' code the 2,048
    of a sequence. 1: the mean, as the paper writes it, which makes fewer swaps."""
    power: float = 1.0
    """Exponent of the inputs' variance, which divides the gain of a weight that may come back. 0: it does not count."""
    same_sign: bool | None = None
    """Whether a row is done before a swap that would turn its error's sign. null: with N:M only, as in the authors' code."""

    def identity(self, sparsity: SparsityConfig) -> dict[str, Any]:
        """As null where `same_sign` is typed as the pattern has it anyway."""
        knobs = MethodConfig.identity(self, sparsity)
        return knobs | ({"same_sign": None} if self.same_sign is isinstance(sparsity, NMConfig) else {})

    def num_compared(self, num_outputs: int, num_inputs: int) -> int:
        """The weights that share a threshold of the start."""
        return start_num_compared(self.start, num_outputs, num_inputs)

    def __post_init__(self) -> None:
        require_at_least("method.max_cycles", self.max_cycles, 0)
        require_at_least("method.sum_over", self.sum_over, 1)
        for knob in ("threshold", "power"):
            if not 0 <= getattr(self, knob) < math.inf:
                reject(f"method.{knob}", getattr(self, knob), "it must be a number of 0 or more")


class InputMoments(InputNorms):
    """The mean and variance of each input over all tokens, weighted by what they count, beside the norm.

    Tokens are taken in by the update of Chan et al. 1979, in float64: the sum of squares alone would lose the variance of an
    input whose mean is large.
    """

    def __init__(self, num_inputs: int, device: torch.device) -> None:
        super().__init__(num_inputs, device)
        self.mean_I = torch.zeros(num_inputs, dtype=torch.float64, device=device)
        self._spread_I = torch.zeros(num_inputs, dtype=torch.float64, device=device)

    def add(self, x_TI: Tensor, weight_T: Tensor | None = None) -> None:
        """Add the moments of these tokens' inputs."""
        before = self.total_weight
        super().add(x_TI, weight_T)
        for start in range(0, len(x_TI), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            before = self._add(before, x_TI[part].detach().double(), None if weight_T is None else weight_T[part].double())

    def _add(self, before: float, x_TI: Tensor, weight_T: Tensor | None) -> float:
        """Take in some tokens after others of weight `before`; the weight of all."""
        weight = float(len(x_TI)) if weight_T is None else float(weight_T.sum())
        if weight == 0:
            return before
        mean_I = x_TI.mean(dim=0) if weight_T is None else weight_T @ x_TI / weight
        spread_I, _ = weighted(x_TI - mean_I, weight_T)
        shift_I, after = mean_I - self.mean_I, before + weight
        self.mean_I = self.mean_I + shift_I * (weight / after)
        self._spread_I = self._spread_I + spread_I.square().sum(dim=0) + shift_I.square() * (before * weight / after)
        return after

    @property
    def num_bytes(self) -> int:
        """Its size in memory."""
        return super().num_bytes + self.mean_I.nbytes + self._spread_I.nbytes

    def move(self, device: torch.device) -> None:
        """Bring it to a device."""
        super().move(device)
        self.mean_I, self._spread_I = self.mean_I.to(device), self._spread_I.to(device)

    def variance(self) -> Tensor:
        """The variance of each input, I, over all tokens: the population's, not a sample's."""
        return self._spread_I / self.total_weight


class MomentsAndHessian:
    """Both of the same inputs, for a start that needs the Hessian."""

    min_tokens: ClassVar[int] = Hessian.min_tokens

    def __init__(self, num_inputs: int, device: torch.device) -> None:
        self.moments, self.hessian = InputMoments(num_inputs, device), Hessian(num_inputs, device)

    def add(self, x_TI: Tensor, weight_T: Tensor | None = None) -> None:
        """Give the inputs to both."""
        self.moments.add(x_TI, weight_T)
        self.hessian.add(x_TI, weight_T)

    @property
    def num_bytes(self) -> int:
        """The size of both in memory."""
        return self.moments.num_bytes + self.hessian.num_bytes

    def move(self, device: torch.device) -> None:
        """Bring both to a device."""
        self.moments.move(device)
        self.hessian.move(device)


@dataclass(frozen=True)
class DSnoT:
    """A cycle swaps one pair in each row: with e = sum over the removed of W_ij E[x_j], the row's expected error,

    back comes the removed weight of e's sign with the largest |W_ij E[x_j]| / Var[x_j]^power; out goes, of the kept weights
    of the other sign, the one with the smallest |W_ij| * ||X_j||, or with N:M that of any sign in the group that the first
    came back to. No weight moves twice. A row is done when |e| is at most the threshold, or nothing is left to swap.

    Counts are exact. It follows the mean error: nothing bounds the squared one, which may rise.
    """

    start: Start = Start.wanda
    """Whose mask is improved."""
    max_cycles: int = 50
    """Most swaps in a row."""
    threshold: float = 0.1
    """What an expected error may be."""
    sum_over: int = 2048
    """Tokens over which the expected error is summed."""
    power: float = 1.0
    """Exponent of the variance."""
    same_sign: bool | None = None
    """Whether an error may not turn its sign; None: with N:M."""
    name: ClassVar[str] = "dsnot"
    needs_inputs: ClassVar[bool] = True

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """Empty moments, with an empty Hessian where the start needs it."""
        kind = MomentsAndHessian if self.start is Start.sparsegpt else InputMoments
        return kind(num_inputs, device)

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """The weights without the removed ones, the others untouched; the error is a share of squared scores, as Wanda's."""
        pattern.check(weight_OI.shape[1], "the linear")
        moments = statistic.moments if isinstance(statistic, MomentsAndHessian) else statistic
        assert isinstance(moments, InputMoments), type(moments)
        wide_OI, norm_I = finite_weight(weight_OI), moments.norms()
        if isinstance(statistic, MomentsAndHessian):
            mask_OI = solved_mask(weight_OI, statistic.hessian, pattern)
        else:
            mask_OI = scored_mask(self.start, weight_OI, norm_I, pattern)
        score_OI = wide_OI.abs() * norm_I
        refinement = Refinement(self, wide_OI, mask_OI, score_OI, moments, pattern)
        while refinement.cycle():
            pass
        mask_OI, squared_OI = refinement.mask_OI, score_OI.square_()
        total, removed = float(squared_OI.sum()), float((squared_OI * mask_OI).sum())
        return masked(weight_OI.detach(), mask_OI, error=removed / total if total else 0.0)


class Refinement:
    """A mask on its way, one swap in each open row a cycle."""

    def __init__(
        self, method: DSnoT, weight_OI: Tensor, mask_OI: Tensor, score_OI: Tensor, moments: InputMoments, pattern: Pattern
    ) -> None:
        self.mask_OI = mask_OI.clone()
        self._method, self._cycles_left = method, method.max_cycles
        self._expected_OI = weight_OI * (moments.mean_I * method.sum_over).to(weight_OI.dtype)
        self._error_O = (self._expected_OI * mask_OI).sum(dim=1)
        self._first_sign_O = self._error_O.sign()
        self._same_sign = isinstance(pattern, NM) if method.same_sign is None else method.same_sign
        spread_I = (moments.variance() ** method.power).to(weight_OI.dtype)
        gain_OI = (self._expected_OI.abs() / spread_I).masked_fill_(self._expected_OI == 0, 0)
        self._back = Candidates(self._expected_OI, -gain_OI, mask_OI, method.max_cycles)
        self._out = (
            OfGroups(score_OI, mask_OI, pattern.m)
            if isinstance(pattern, NM)
            else Candidates(self._expected_OI, score_OI, ~mask_OI, method.max_cycles)
        )
        self._num_used_2O = torch.zeros(2, len(mask_OI), dtype=torch.long, device=mask_OI.device)
        self._rows_O = torch.arange(len(mask_OI), device=mask_OI.device)
        self._is_open_O = torch.ones_like(self._error_O, dtype=torch.bool)

    def cycle(self) -> bool:
        """Swap a pair in every open row; whether another cycle may follow."""
        if self._cycles_left == 0:
            return False
        self._cycles_left -= 1
        side_O = (self._error_O > 0).long()
        used_O = self._num_used_2O[side_O, self._rows_O]
        back_O, is_back_O = self._back.take(side_O, used_O)
        if isinstance(self._out, OfGroups):
            out_O, is_out_O = self._out.beside(back_O)
        else:
            out_O, is_out_O = self._out.take(1 - side_O, used_O)
        after_O = self._error_O + self._expected(out_O) - self._expected(back_O)
        self._is_open_O &= is_back_O & is_out_O & (self._error_O.abs() > self._method.threshold)
        if self._same_sign:
            self._is_open_O &= after_O.sign() == self._first_sign_O
        self._error_O = torch.where(self._is_open_O, after_O, self._error_O)
        rows_R = self._rows_O[self._is_open_O]
        self.mask_OI[rows_R, out_O[rows_R]], self.mask_OI[rows_R, back_O[rows_R]] = True, False
        self._num_used_2O[side_O[rows_R], rows_R] += 1
        if isinstance(self._out, OfGroups):
            self._out.remove(rows_R, out_O[rows_R])
        return len(rows_R) > 0

    def _expected(self, input_O: Tensor) -> Tensor:
        return self._expected_OI[self._rows_O, input_O]


class Candidates:
    """Inputs of each row in the order in which they are taken, those with a negative sign and those with a positive one."""

    def __init__(self, sign_OI: Tensor, rank_OI: Tensor, is_one_OI: Tensor, most: int) -> None:
        """Of the candidates the `most` of each sign with the lowest rank; of equal ranks the lower input comes first."""
        sides = [is_one_OI & (sign_OI < 0), is_one_OI & (sign_OI > 0)]
        most = min(most, sign_OI.shape[1])
        self._order_2OS = torch.stack([_first(rank_OI.masked_fill(~side_OI, math.inf), most) for side_OI in sides])
        self._num_2O = torch.stack([side_OI.sum(dim=1).clamp_(max=most) for side_OI in sides])
        self._rows_O = torch.arange(len(sign_OI), device=sign_OI.device)

    def take(self, side_O: Tensor, place_O: Tensor) -> tuple[Tensor, Tensor]:
        """(the candidate at this place of a sign's order, 0 negative and 1 positive; whether there is one), for each row."""
        if self._order_2OS.shape[2] == 0:
            return place_O, torch.zeros_like(place_O, dtype=torch.bool)
        is_there_O = place_O < self._num_2O[side_O, self._rows_O]
        return self._order_2OS[side_O, self._rows_O, place_O.clamp(max=self._order_2OS.shape[2] - 1)], is_there_O


def _first(rank_OI: Tensor, num: int) -> Tensor:
    """The `num` inputs with the lowest ranks, O x S, in their order."""
    columns_OS = lowest_in_rows(rank_OI, num).nonzero()[:, 1].view(len(rank_OI), num)
    return columns_OS.gather(1, rank_OI.gather(1, columns_OS).argsort(dim=1, stable=True))


class OfGroups:
    """Which kept weight of a group of N:M goes: of those that never moved the one with the lowest score."""

    def __init__(self, score_OI: Tensor, mask_OI: Tensor, group_size: int) -> None:
        self._score_OI, self._size = score_OI.masked_fill(mask_OI, math.inf), group_size

    def beside(self, input_O: Tensor) -> tuple[Tensor, Tensor]:
        """(the input that goes in the group of `input_O`, whether there is one), for each row."""
        first_O = input_O - input_O % self._size
        inputs_OM = first_O[:, None] + torch.arange(self._size, device=input_O.device)
        score_O, place_O = self._score_OI.gather(1, inputs_OM).min(dim=1)
        return first_O + place_O, score_O.isfinite()

    def remove(self, rows_R: Tensor, input_R: Tensor) -> None:
        """Mark these as removed."""
        self._score_OI[rows_R, input_R] = math.inf
