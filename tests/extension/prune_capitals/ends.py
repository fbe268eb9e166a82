"""Ends: only the last tokens of each sequence count, where their hidden states change in a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prune.config.weight import WeightConfig
from prune.lazy import torch
from prune.pruning.token_weights import Need, Seen

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(kw_only=True, slots=True)
class EndsConfig(WeightConfig):
    """Only the last tokens count."""

    name: str = "ends"
    last: int = 4
    """How many."""


@dataclass(frozen=True)
class Ends:
    """The last tokens count by how much the block changes them."""

    last: int
    needs: ClassVar[frozenset[Need]] = frozenset({Need.outputs})

    def weigh_block(self, seen: Seen) -> Tensor:
        """float32 T."""
        assert seen.output_TH is not None, "the outputs are asked for"
        change_T = torch.linalg.vector_norm((seen.output_TH - seen.input_TH).float(), dim=-1)
        change_T[: -self.last] = 0
        return change_T
