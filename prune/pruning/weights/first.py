"""Only the first tokens of each sequence count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune.config.checks import require_at_least
from prune.config.weight import WeightConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class FirstConfig(WeightConfig):
    """Only the first real tokens of each sequence count."""

    name: str = "first"
    tokens: int = 256
    """Number of tokens; BOS is one of them."""

    def __post_init__(self) -> None:
        require_at_least("weight.tokens", self.tokens, 1)


@dataclass(frozen=True)
class First:
    """1 for the first `tokens` real tokens, 0 for the others."""

    tokens: int

    def weigh(self, tokens_NL: Tensor, real_NL: Tensor) -> Tensor:
        """float32 N x L."""
        return (real_NL.cumsum(dim=1) <= self.tokens).float()
