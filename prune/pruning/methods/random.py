"""Random pruning: a control that any method should beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.method import MethodConfig
from prune.lazy import torch
from prune.pruning.method import NoStatistic, Pruned, Statistic, masked
from prune.pruning.sparsity import NM, Pattern, lowest_in_groups, lowest_in_matrix

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class RandomConfig(MethodConfig):
    """Removes weights at random (control). No calibration; calib.seed draws."""

    name: str = "random"


@dataclass(frozen=True)
class Random:
    """Scores are uniform draws of the given generator; counts are those of magnitude pruning.

    Drawn in float64, where equal draws are so rare that the rule for ties does not favour the first weights.
    """

    name: ClassVar[str] = "random"
    needs_inputs: ClassVar[bool] = False

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """Nothing is kept."""
        return NoStatistic()

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """The weights without randomly chosen ones, the others untouched; a CPU generator gives one mask on all devices."""
        score_OI = torch.rand(weight_OI.shape, dtype=torch.float64, generator=generator, device=generator.device)
        if isinstance(pattern, NM):
            mask_OI = lowest_in_groups(score_OI, pattern)
        else:
            mask_OI = lowest_in_matrix(score_OI, pattern.num_removed(score_OI.numel()))
        return masked(weight_OI.detach(), mask_OI.to(weight_OI.device))
