"""Wanda (Sun et al. 2023, arXiv 2306.11695): the weights with the smallest |weight| x input norm of each output are
removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.method import MethodConfig
from prune.errors import UserError
from prune.lazy import torch
from prune.pruning.method import Pruned, Statistic, check_statistic, finite_weight, masked, weighted
from prune.pruning.sparsity import NM, Pattern, Unstructured, count_ties, lowest_in_groups, lowest_in_rows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class WandaConfig(MethodConfig):
    """Removes the smallest |weight| x input norm in each row."""

    name: str = "wanda"
    variant: bool = False
    """Cut each row at a share of its score sum instead of a count, so that rows differ in sparsity (unstructured only)."""

    def num_compared(self, num_outputs: int, num_inputs: int) -> int:
        """The weights of a row; all of the matrix for the variant, which has no count for a row."""
        return num_outputs * num_inputs if self.variant else num_inputs


MAX_SHARE = 0.8
"""Upper end of the variant's search for the share of a row's score sum (the reference's)."""
ROWS_AT_ONCE = 256
"""Tokens whose squares are held on the CPU at once: few enough for its cache; changes speed only."""
TOLERANCE = 1e-3
"""How far the variant's sparsity may be from the asked one (the reference's)."""


class InputNorms:
    """The norm of each input over all tokens: the root of s_j = sum_t w_t x_tj^2."""

    def __init__(self, num_inputs: int, device: torch.device) -> None:
        self.total_weight: float = 0
        self.squared_I = torch.zeros(num_inputs, dtype=torch.float32, device=device)

    def add(self, x_TI: Tensor, weight_T: Tensor | None = None) -> None:
        """Add the squares of these tokens' inputs."""
        x_TI, weight = weighted(x_TI.detach(), weight_T)
        dtype = torch.promote_types(x_TI.dtype, self.squared_I.dtype)
        self.squared_I = self.squared_I.to(dtype) + squared_norms(x_TI, dtype)
        self.total_weight += weight

    @property
    def num_bytes(self) -> int:
        """Its size in memory."""
        return self.squared_I.nbytes

    def move(self, device: torch.device) -> None:
        """Bring it to a device."""
        self.squared_I = self.squared_I.to(device)

    def norms(self) -> Tensor:
        """Euclidean norms.

        Raises:
            UserError: no token counted, or a norm is not finite.
        """
        check_statistic(self.squared_I, self.total_weight)
        return self.squared_I.sqrt()


def squared_norms(x_TI: Tensor, dtype: torch.dtype) -> Tensor:
    """The sum over tokens of each input's squares, I, in `dtype`; no T x I copy of the inputs is made."""
    if x_TI.device.type != "cpu":
        norm_I: Tensor = torch.linalg.vector_norm(x_TI, dim=0, dtype=dtype)
        return norm_I.square_()
    total_I = torch.zeros(x_TI.shape[1], dtype=dtype)
    for start in range(0, len(x_TI), ROWS_AT_ONCE):
        total_I += x_TI[start : start + ROWS_AT_ONCE].to(dtype).square().sum(dim=0)
    return total_I


def scores(weight_OI: Tensor, statistic: Statistic | None) -> Tensor:
    """|W_ij| * ||X_j||, O x I.

    Raises:
        UserError: see `finite_weight` and `InputNorms.norms`.
    """
    assert isinstance(statistic, InputNorms), type(statistic)
    return finite_weight(weight_OI).abs() * statistic.norms()


@dataclass(frozen=True)
class Wanda:
    """Score |W_ij| * ||X_j||. Unstructured: the int(I * ratio) lowest of each row; N:M: the N lowest of each group.

    The reference (locuslab/wanda) divides the squared norms by the number of sequences, which changes no mask.
    """

    variant: bool = False
    """Cut rows at a share of their score sum instead of a count (the appendix of the paper)."""
    name: ClassVar[str] = "wanda"
    needs_inputs: ClassVar[bool] = True

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """An empty sum of squares."""
        return InputNorms(num_inputs, device)

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """The weights without the lowest scores, the others untouched.

        The error is the removed share of the squared scores: exact for uncorrelated inputs.
        """
        score_OI = scores(weight_OI, statistic)
        mask_OI = self._mask(score_OI, pattern)
        width = pattern.m if isinstance(pattern, NM) else score_OI.shape[1]
        num_ties = count_ties(score_OI, mask_OI, weight_OI, width)
        squared_OI = score_OI.square_()
        total = float(squared_OI.sum())
        removed = float((squared_OI * mask_OI).sum())
        return masked(weight_OI.detach(), mask_OI, error=removed / total if total else 0.0, num_ties=num_ties)

    def _mask(self, score_OI: Tensor, pattern: Pattern) -> Tensor:
        if isinstance(pattern, NM):
            if self.variant:
                raise UserError(
                    f"method.variant=true and sparsity {pattern} do not go together: the variant lets rows differ in "
                    "sparsity, N:M makes them equal. Use sparsity=unstructured, or method.variant=false."
                )
            return lowest_in_groups(score_OI, pattern)
        if self.variant:
            return share_mask(score_OI, pattern)
        return lowest_in_rows(score_OI, pattern.num_removed(score_OI.shape[1]))


def share_mask(score_OI: Tensor, pattern: Unstructured) -> Tensor:
    """The variant's mask: in each row the lowest scores go as long as their running sum is at most a share of the row's sum.

    One share serves all rows. It is bisected, from 0.4 in [0, 0.8], until the sparsity of the matrix is within 0.001 of the
    asked one. Of equal scores the lower column goes first.

    Differences from the reference (locuslab/wanda, lib/prune.py, return_given_alpha): it removes all scores that are equal
    to a row's last one; where no score fits under the share it takes the row's largest as threshold and so removes the
    whole row; and it stops silently when the interval is below 0.001.

    Raises:
        UserError: no share up to 0.8 comes within 0.001 of the asked sparsity.
    """
    sorted_OI, order_OI = score_OI.sort(dim=1, stable=True)
    running_OI = sorted_OI.cumsum(dim=1)
    num_O1 = _bisect_counts(running_OI, pattern)
    rank_I = torch.arange(score_OI.shape[1], device=score_OI.device)
    return torch.zeros_like(score_OI, dtype=torch.bool).scatter_(1, order_OI, rank_I < num_O1)


def _bisect_counts(running_OI: Tensor, pattern: Unstructured) -> Tensor:
    def counts(share: float) -> tuple[Tensor, float]:
        num_O1 = torch.searchsorted(running_OI, running_OI[:, -1:] * share, right=True)
        return num_O1, int(num_O1.sum()) / running_OI.numel()

    low, share, high = 0.0, MAX_SHARE / 2, MAX_SHARE
    while high - low > torch.finfo(running_OI.dtype).eps:
        num_O1, sparsity = counts(share)
        if abs(sparsity - pattern.ratio) <= TOLERANCE:
            return num_O1
        low, high = (low, share) if sparsity > pattern.ratio else (share, high)
        share = (low + high) / 2
    num_O1, nearest = counts(high)
    raise UserError(
        f"method.variant=true cannot reach sparsity {pattern} here within {TOLERANCE:g}: the nearest share of a row's score "
        f"sum ({high:.4g}, at most {MAX_SHARE}) removes {100 * nearest:.4g}%. "
        "Choose another sparsity.ratio, or method.variant=false."
    )
