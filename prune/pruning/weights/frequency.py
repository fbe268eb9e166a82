"""Rare tokens count more (RSQ's TokenFreq, arXiv 2503.01820)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune.config.weight import ScaledConfig
from prune.lazy import torch
from prune.pruning.token_weights import kept_total, spread

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class FrequencyConfig(ScaledConfig):
    """The rarer a token is in the calibration set, the more it counts."""

    name: str = "frequency"


@dataclass(frozen=True)
class Frequency:
    """The score is minus the number of times that the token occurs among the real ones of the whole set.

    The authors' code shuffles the sequences and not the scores, so a sequence has the weights of another there.
    """

    min: float
    max: float

    def weigh(self, tokens_NL: Tensor, real_NL: Tensor) -> Tensor:
        """float32 N x L."""
        counts_V = torch.bincount(tokens_NL[real_NL], minlength=int(tokens_NL.max()) + 1)
        weights_NL = torch.ones(tokens_NL.shape)
        for tokens_L, real_L, weights_L in zip(tokens_NL, real_NL, weights_NL, strict=True):
            weights_T = spread(-counts_V[tokens_L[real_L]].double(), self.min, self.max)
            weights_L[real_L] = weights_T * kept_total(torch.ones_like(weights_T), weights_T)
        return weights_NL
