"""Tokens that a block changes little count more (RSQ's ActDiff, arXiv 2503.01820)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.weight import ScaledConfig
from prune.lazy import torch
from prune.pruning.token_weights import Need, Seen, spread

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class ActivationChangeConfig(ScaledConfig):
    """The less the dense block changes a token's hidden state, the more the token counts."""

    name: str = "activation_change"


@dataclass(frozen=True)
class ActivationChange:
    """The score is -||h_t - h'_t||, h what enters the block and h' what leaves it."""

    min: float
    max: float
    needs: ClassVar[frozenset[Need]] = frozenset({Need.outputs})

    def weigh_block(self, seen: Seen) -> Tensor:
        """float32 T."""
        assert seen.output_TH is not None, "the outputs are asked for"
        change_TH = seen.input_TH.float() - seen.output_TH.float()
        return spread(-torch.linalg.vector_norm(change_TH, dim=-1), self.min, self.max)
