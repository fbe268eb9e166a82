"""Tokens that receive much attention count more (RSQ's AttnCon, arXiv 2503.01820)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.weight import ScaledConfig
from prune.pruning.token_weights import Need, Seen, spread

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class AttentionConfig(ScaledConfig):
    """The more attention a token receives in the block, the more it counts."""

    name: str = "attention"


@dataclass(frozen=True)
class Attention:
    """The score is the sum over heads and queries q of the softmax P_qt."""

    min: float
    max: float
    needs: ClassVar[frozenset[Need]] = frozenset({Need.attention})

    def weigh_block(self, seen: Seen) -> Tensor:
        """float32 T."""
        assert seen.attention_T is not None, "the attention is asked for"
        return spread(seen.attention_T, self.min, self.max)
