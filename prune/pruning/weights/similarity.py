"""Tokens unlike the others of their sequence count more (RSQ's TokenSim, arXiv 2503.01820)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.weight import ScaledConfig
from prune.lazy import torch
from prune.pruning.token_weights import Need, Seen, spread

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class SimilarityConfig(ScaledConfig):
    """The farther a hidden state that enters the block lies from the others of its sequence, the more its token counts."""

    name: str = "similarity"


@dataclass(frozen=True)
class Similarity:
    """The score is the mean over j of ||h_t - h_j||^2 = ||h_t - m||^2 + a constant, with m the mean of h.

    So no T x T distances are needed, and the constant cancels when scores are spread.
    """

    min: float
    max: float
    needs: ClassVar[frozenset[Need]] = frozenset()

    def weigh_block(self, seen: Seen) -> Tensor:
        """float32 T."""
        input_TH = seen.input_TH.float()
        distance_T = (input_TH - input_TH.mean(dim=0)).square().sum(dim=-1, dtype=torch.float64)
        return spread(distance_T, self.min, self.max)
