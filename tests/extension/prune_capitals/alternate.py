"""Alternate: every other weight of each row goes, whatever it is (unstructured 50 % only)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.method import MethodConfig
from prune.lazy import torch
from prune.pruning.method import NoStatistic, Pruned, Statistic, masked
from prune.pruning.sparsity import Pattern

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class AlternateConfig(MethodConfig):
    """Removes every other weight."""

    name: str = "alternate"
    first: int = 0
    """The first input that goes: 0 or 1."""


@dataclass(frozen=True)
class Alternate:
    """Inputs first, first + 2, first + 4, ... of each output go."""

    name: ClassVar[str] = "alternate"
    needs_inputs: ClassVar[bool] = False
    first: int = 0

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """Nothing is kept."""
        return NoStatistic()

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """The weights without every other one."""
        mask_OI = torch.zeros(weight_OI.shape, dtype=torch.bool)
        mask_OI[:, self.first :: 2] = True
        return masked(weight_OI.detach(), mask_OI)
