"""RIA (Zhang et al. 2024, Plug-and-Play, arXiv 2402.09997): a weight counts by its share of its row and of its column."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from prune.config.checks import reject
from prune.config.method import MethodConfig
from prune.config.sparsity import NMConfig, SparsityConfig
from prune.lazy import torch
from prune.pruning.method import Pruned, Statistic, finite_weight, masked
from prune.pruning.methods.wanda import InputNorms
from prune.pruning.solver.permutation import Permutation, best_order
from prune.pruning.sparsity import NM, Pattern, count_ties, lowest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class RIAConfig(MethodConfig):
    """Removes the weights that are the smallest share of their row and column, x input norm to a power."""

    name: str = "ria"
    power: float = 0.5
    """Exponent of the input norms."""
    permutation: Permutation = Permutation.none
    """For N:M only: which inputs share a group, so that more score is kept. none: consecutive ones. heuristic, lsa: others,
    so that the mask is N:M after a reordering of the inputs that each linear needs for itself (docs/methods_masks.md)."""

    def identity(self, sparsity: SparsityConfig) -> dict[str, Any]:
        """Without the permutation where inputs stay in consecutive groups; only N:M has others."""
        permutes = isinstance(sparsity, NMConfig) and self.permutation is not Permutation.none
        knobs = MethodConfig.identity(self, sparsity)
        return knobs if permutes else {key: value for key, value in knobs.items() if key != "permutation"}

    def __post_init__(self) -> None:
        if not 0 <= self.power < math.inf:
            reject("method.power", self.power, "it must be a number of 0 or more")


@dataclass(frozen=True)
class RIA:
    """Score (|W_ij| / sum_k |W_kj| + |W_ij| / sum_k |W_ik|) * ||X_j||^power, relative importance and activation.

    Unstructured: the int(O * I * ratio) lowest of the matrix, as in the authors' code; N:M: the N lowest of each group. A
    share of a row or column that is all zero is 0. As with Wanda, the authors divide the squared norms by the number of
    sequences, which changes no mask.
    """

    power: float = 0.5
    """Exponent of the input norms; 0 is relative importance alone."""
    permutation: Permutation = Permutation.none
    """Which inputs share a group of N:M; the mask and the weights stay in the order of the model."""
    name: ClassVar[str] = "ria"
    needs_inputs: ClassVar[bool] = True

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """An empty sum of squares."""
        return InputNorms(num_inputs, device)

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """The weights without the lowest scores, the others untouched.

        The error is the removed share of the squared |W_ij| * ||X_j||, as in Wanda: exact for uncorrelated inputs.
        """
        assert isinstance(statistic, InputNorms), type(statistic)
        size_OI, norm_I = finite_weight(weight_OI).abs(), statistic.norms()
        score_OI = relative_importance(size_OI) * norm_I**self.power
        mask_OI, num_ties = self._mask(score_OI, weight_OI, pattern)
        squared_OI = (size_OI * norm_I).square_()
        total = float(squared_OI.sum())
        removed = float(squared_OI.masked_fill(~mask_OI, 0).sum())
        return masked(weight_OI.detach(), mask_OI, error=removed / total if total else 0.0, num_ties=num_ties)

    def _mask(self, score_OI: Tensor, weight_OI: Tensor, pattern: Pattern) -> tuple[Tensor, int]:
        """(the mask, its ties)."""
        if not isinstance(pattern, NM):
            mask_OI = lowest(score_OI, pattern)
            return mask_OI, count_ties(score_OI, mask_OI, weight_OI)
        if self.permutation is Permutation.none:
            mask_OI = lowest(score_OI, pattern)
            return mask_OI, count_ties(score_OI, mask_OI, weight_OI, pattern.m)
        order_I = best_order(score_OI, pattern, self.permutation)
        permuted_OI = lowest(score_OI[:, order_I], pattern)
        num_ties = count_ties(score_OI[:, order_I], permuted_OI, weight_OI[:, order_I], pattern.m)
        return torch.empty_like(permuted_OI).index_copy_(1, order_I, permuted_OI), num_ties


def relative_importance(size_OI: Tensor) -> Tensor:
    """Each weight's share of its column plus its share of its row, O x I, of the sizes |W|; 0 / 0 is 0."""
    column_1I, row_O1 = size_OI.sum(dim=0, keepdim=True), size_OI.sum(dim=1, keepdim=True)
    return size_OI / column_1I.masked_fill(column_1I == 0, 1) + size_OI / row_O1.masked_fill(row_O1 == 0, 1)
