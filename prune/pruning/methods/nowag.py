"""NoWag-P (Liu et al. 2025, arXiv 2504.14569): Wanda's score on weights whose columns and rows have norm 1.

Shapes: O out, I in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.method import MethodConfig
from prune.lazy import torch
from prune.pruning.method import Pruned, Statistic, finite_weight, masked
from prune.pruning.methods.wanda import InputNorms
from prune.pruning.sparsity import NM, Pattern, count_ties, lowest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class NoWagConfig(MethodConfig):
    """Removes the smallest |normalised weight| x input norm of each matrix."""

    name: str = "nowag"


@dataclass(frozen=True)
class NoWag:
    """Score |V_ij| * ||X_j||, V the weights divided by the norms of their columns and then of their rows.

    Unstructured: the int(O * I * ratio) lowest of the matrix; N:M: the N lowest of each group. The authors' code
    (LawrenceRLiu/NoWag) adds 1e-5 to each norm, which moves hardly a weight; here only a norm of 0 is replaced, by 1.
    """

    name: ClassVar[str] = "nowag"
    needs_inputs: ClassVar[bool] = True

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """An empty sum of squares."""
        return InputNorms(num_inputs, device)

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """The weights without the lowest scores, the others untouched; the error is the one of `RIA.prune`."""
        assert isinstance(statistic, InputNorms), type(statistic)
        size_OI, norm_I = finite_weight(weight_OI).abs(), statistic.norms()
        score_OI = normalised(size_OI) * norm_I
        mask_OI = lowest(score_OI, pattern)
        num_ties = count_ties(score_OI, mask_OI, weight_OI, pattern.m if isinstance(pattern, NM) else None)
        squared_OI = (size_OI * norm_I).square_()
        total, removed = float(squared_OI.sum()), float((squared_OI * mask_OI).sum())
        return masked(weight_OI.detach(), mask_OI, error=removed / total if total else 0.0, num_ties=num_ties)


def normalised(size_OI: Tensor) -> Tensor:
    """Columns divided by their norm, then rows by theirs; those of norm 0 stay 0."""
    for dim in (0, 1):
        norm: Tensor = torch.linalg.vector_norm(size_OI, dim=dim, keepdim=True)
        size_OI = size_OI / norm.masked_fill(norm == 0, 1)
    return size_OI
