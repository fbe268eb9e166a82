"""Random pruning: a control that any method should beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.method import MethodConfig
from prune.lazy import torch
from prune.pruning.method import NoStatistic, Pruned, Statistic, masked
from prune.pruning.sparsity import Pattern, lowest, zeros_to_keep

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class RandomConfig(MethodConfig):
    """Removes weights at random (control). No calibration; calib.seed draws."""

    name: str = "random"


@dataclass(frozen=True)
class Random:
    """Scores are uniform draws of the given generator; counts are those of magnitude pruning.

    Drawn in float64, where equal draws are so rare that the rule for ties does not favour the first weights. Zeros
    that are preserved go first.
    """

    name: ClassVar[str] = "random"
    needs_inputs: ClassVar[bool] = False

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """A statistic that keeps nothing."""
        return NoStatistic()

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """The weights without randomly chosen ones, the others untouched; a CPU generator gives one mask on all devices."""
        score_OI = torch.rand(weight_OI.shape, dtype=torch.float64, generator=generator, device=generator.device)
        if (zero_OI := zeros_to_keep(weight_OI.detach(), pattern)) is not None:
            score_OI[zero_OI.to(score_OI.device)] = -1
        return masked(weight_OI.detach(), lowest(score_OI, pattern).to(weight_OI.device))
