"""Tokens with large hidden states count more (RSQ's ActNorm, arXiv 2503.01820)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.weight import ScaledConfig
from prune.lazy import torch
from prune.pruning.token_weights import Need, Seen, spread

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class ActivationNormConfig(ScaledConfig):
    """The larger the hidden state that enters the block, the more its token counts."""

    name: str = "activation_norm"


@dataclass(frozen=True)
class ActivationNorm:
    """The score is ||h_t||, h what enters the block."""

    min: float
    max: float
    needs: ClassVar[frozenset[Need]] = frozenset()

    def weigh_block(self, seen: Seen) -> Tensor:
        """float32 T."""
        return spread(torch.linalg.vector_norm(seen.input_TH.float(), dim=-1), self.min, self.max)
