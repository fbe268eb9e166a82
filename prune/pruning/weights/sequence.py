"""Each sequence counts the same, however few real tokens it has (MaCa, arXiv 2602.07465)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.weight import WeightConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class SequenceConfig(WeightConfig):
    """Each sequence counts the same: its tokens share a weight of L, whatever their number."""

    name: str = "sequence"


@dataclass(frozen=True)
class Sequence:
    """L over the number of real tokens in the sequence: exactly 1 where none is padding."""

    alike_when_full: ClassVar[bool] = True

    def weigh(self, tokens_NL: Tensor, real_NL: Tensor) -> Tensor:
        """float32 N x L."""
        return real_NL.shape[1] / real_NL.sum(dim=1, keepdim=True).expand(real_NL.shape).float()
