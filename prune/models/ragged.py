"""Sequences of different lengths through a causal model, which sees nothing of what comes after a token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from prune.lazy import torch
from prune.models.batching import within_memory

if TYPE_CHECKING:
    from torch import Tensor

BATCH_TOKENS = 2**13
"""Tokens in a batch, including those that fill up short sequences."""


def over_sequences(
    sequences: Sequence[Sequence[int]],
    forward: Callable[[Tensor, Tensor], Tensor],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, Tensor]:
    """Place in `sequences` -> what `forward` gives of it, on the host; empty sequences have no entry.

    Args:
        forward: the tokens of a batch, B x L, and the lengths, (B,) -> a tensor whose rows belong to the sequences. Short
            ones are filled up on the right, which changes nothing of what the model says of the tokens before.

    Raises:
        UserError: there is no memory for a single sequence.
    """
    found: dict[int, Tensor] = {}

    def attempt(batch_size: int) -> None:
        left = [place for place, ids in enumerate(sequences) if ids and place not in found]
        longest = max((len(sequences[place]) for place in left), default=0)
        for places in batches(sequences, left, batch_size * longest):
            lengths_B = torch.tensor([len(sequences[place]) for place in places])
            found.update(zip(places, forward(fill_up([sequences[place] for place in places]), lengths_B).cpu(), strict=True))
            on_progress(len(found), len(sequences))

    longest = max(map(len, sequences), default=0)
    with torch.inference_mode():
        within_memory(attempt, max(1, BATCH_TOKENS // max(longest, 1)), "Choosing calibration data by the model", "sequence")
    return found


def batches(sequences: Sequence[Sequence[int]], places: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """The places of each batch, the longest sequences first: as many as have `most_tokens` tokens when filled up, or one."""
    order = sorted(places, key=lambda place: -len(sequences[place]))
    start = 0
    while start < len(order):
        stop = start + max(1, most_tokens // len(sequences[order[start]]))
        yield order[start:stop]
        start = stop


def fill_up(sequences: Sequence[Sequence[int]]) -> Tensor:
    """Their tokens, B x L int64; short ones end with their last token again and again."""
    longest = max(map(len, sequences))
    return torch.tensor([[*ids, *[ids[-1]] * (longest - len(ids))] for ids in sequences])
