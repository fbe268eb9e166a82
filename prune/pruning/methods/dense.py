"""No pruning: the model to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.method import MethodConfig
from prune.lazy import torch
from prune.pruning.method import NoStatistic, Pruned, Statistic
from prune.pruning.sparsity import Pattern

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class DenseConfig(MethodConfig):
    """Removes nothing: the model to compare with."""

    name: str = "dense"


@dataclass(frozen=True)
class Dense:
    """Keeps every weight, whatever the pattern."""

    name: ClassVar[str] = "dense"
    needs_inputs: ClassVar[bool] = False

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """Nothing is kept."""
        return NoStatistic()

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """The weights as they are, and a mask that removes none."""
        weight_OI = weight_OI.detach()
        return Pruned(weight_OI=weight_OI, mask_OI=torch.zeros_like(weight_OI, dtype=torch.bool), error=None)
