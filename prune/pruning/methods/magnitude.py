"""Magnitude pruning (Han et al. 2015, arXiv 1506.02626): the smallest weights of each matrix are removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.method import MethodConfig
from prune.lazy import torch
from prune.pruning.method import NoStatistic, Pruned, Statistic, finite_weight, masked
from prune.pruning.sparsity import NM, Pattern, count_ties, lowest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class MagnitudeConfig(MethodConfig):
    """Removes the smallest weights of each matrix. No calibration."""

    name: str = "magnitude"


@dataclass(frozen=True)
class Magnitude:
    """Score |W|. Unstructured: the int(O * I * ratio) lowest of the matrix; N:M: the N lowest of each group.

    The reference (locuslab/wanda, lib/prune.py) removes every |W| <= sort(|W|)[int(numel * ratio)], so at least one weight
    more, and in low precision all that are equal to it. Here the count is exact and the lower index goes first.
    """

    name: ClassVar[str] = "magnitude"
    needs_inputs: ClassVar[bool] = False

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """A statistic that keeps nothing."""
        return NoStatistic()

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """The weights without the smallest ones, the others untouched."""
        score_OI = finite_weight(weight_OI).abs()
        mask_OI = lowest(score_OI, pattern)
        width = pattern.m if isinstance(pattern, NM) else None
        return masked(weight_OI.detach(), mask_OI, num_ties=count_ties(score_OI, mask_OI, weight_OI, width))
