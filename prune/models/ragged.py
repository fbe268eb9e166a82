"""Sequences of different lengths as batches for a causal model, which sees nothing of what comes after a token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from prune.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

BATCH_TOKENS = 2**13
"""Tokens in a batch, those that fill up short sequences included."""


def ragged_batches(
    sequences: Sequence[Sequence[int]], batch_tokens: int = BATCH_TOKENS
) -> Iterator[tuple[list[int], Tensor]]:
    """(places in `sequences`, their tokens B x L, int64) of each batch, the longest sequences first; empty ones have none.

    Short sequences are filled up on the right with their last token, which changes nothing of what a causal model says of
    the tokens before; whoever reads the model's output cuts each at its own length.
    """
    order = sorted((place for place, ids in enumerate(sequences) if ids), key=lambda place: -len(sequences[place]))
    start = 0
    while start < len(order):
        longest = len(sequences[order[start]])
        places = order[start : start + max(1, batch_tokens // longest)]
        start += len(places)
        filled = [[*sequences[place], *[sequences[place][-1]] * (longest - len(sequences[place]))] for place in places]
        yield places, torch.tensor(filled)
