"""Batches of prompts that begin alike: what they share goes through the model once.

The longest common prefix of all prompts goes through the model once; its keys and values are kept. A batch is padded on the
left, `[padding][prefix][own tokens]`: the first P slots of its cache are filled from the kept prefix, each row shifted by
its padding, and only the slots after them go through the model. In a row with padding these begin with the last tokens of
the prefix, which are computed again in place of padding. So each row is contiguous and ends in the last slot: windows that
count slots (Gemma 3, Mistral) see the right tokens, and position ids count real tokens only.

Tensors: B rows, H heads, S slots (padding, prefix, own tokens), L slots fed at once, P prefix tokens, D head size,
V vocabulary.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from prune.eval.engine.logits import Tokens

BUSY_SLOTS = 256
"""Slots in a pass from which on more slots cost more time: below, the time is that of reading the weights."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """Tokens that all prompts begin with; keys and values of each layer, (1, H, P, D), None where a layer keeps none."""

    ids: tuple[int, ...]
    layers: list[tuple[Tensor, Tensor] | None]


def common_prefix(prompts: Sequence[Tokens]) -> tuple[int, ...]:
    """The longest beginning that all prompts share, with at least one token left for each; empty for a single prompt."""
    if len(prompts) < 2:
        return ()
    longest = min(map(len, prompts)) - 1
    return tuple(column[0] for column in takewhile(lambda column: len(set(column)) == 1, zip(*prompts)))[:longest]  # noqa: B905


def run_prefix(model: Any, ids: tuple[int, ...]) -> Prefix:
    """The prefix with its keys and values, in full length also where a layer looks at a window only."""
    if not ids:
        return Prefix((), [None] * model.config.get_text_config().num_hidden_layers)
    cache = DynamicCache()
    input_ids = torch.tensor([ids], device=model.device)
    call_model(model, 1, input_ids=input_ids, past_key_values=cache, use_cache=True)
    return Prefix(ids, [(layer.keys, layer.values) if layer.is_initialized else None for layer in cache.layers])


def call_model(model: Any, num_logits: int, **inputs: Any) -> Tensor:
    """The logits of the last `num_logits` slots, (B, num_logits, V); models that can compute no others."""
    parameters = inspect.signature(model.forward).parameters
    if "logits_to_keep" in parameters:
        inputs["logits_to_keep"] = num_logits
    if "position_ids" not in parameters:
        inputs.pop("position_ids", None)
    logits_BLV: Tensor = model(**inputs).logits
    return logits_BLV[:, -num_logits:]


class SlotLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one attention layer in room that is allocated once; a plain layer copies all of them each step."""

    def __init__(self, capacity: int, num_used: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.num_used = num_used
        self.room: tuple[Tensor, Tensor] | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocates the room for as many rows as the given keys and values have, each (B, H, any, D)."""
        self.dtype, self.device = key_states.dtype, key_states.device
        # Zeros: what is masked is still multiplied, and memory may hold anything, also what is not a number.
        keys, values = (one.new_zeros(*one.shape[:2], self.capacity, one.shape[3]) for one in (key_states, value_states))
        self.room = keys, values
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """All keys and values, (B, H, S, D), after the given ones were put behind those that are there."""
        if self.room is None:
            self.lazy_initialization(key_states, value_states)
        assert self.room is not None
        start, self.num_used = self.num_used, self.num_used + key_states.shape[2]
        self.room[0][:, :, start : self.num_used] = key_states
        self.room[1][:, :, start : self.num_used] = value_states
        self.keys, self.values = (one[:, :, : self.num_used] for one in self.room)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """The slots that are in use, padding among them."""
        return self.num_used


class Rows:
    """A batch of rows in the model's cache, each padded on the left only."""

    def __init__(self, model: Any, layers: list[SlotLayer], mask_BS: Tensor) -> None:
        self.model = model
        self.layers = layers
        self.mask_BS = mask_BS

    def count_tokens(self) -> Tensor:
        """The real tokens of each row, (B,)."""
        return self.mask_BS.sum(dim=1)

    def feed(self, ids_BL: Tensor, real_BL: Tensor, num_logits: int = 1) -> Tensor:
        """The logits of the last `num_logits` slots, (B, num_logits, V), after each row took in the tokens that are real."""
        positions_BL = (self.count_tokens()[:, None] + real_BL.cumsum(dim=1) - 1).clamp(min=0)
        self.mask_BS = torch.cat([self.mask_BS, real_BL], dim=1)
        cache = DynamicCache()
        cache.layers = self.layers
        return call_model(
            self.model,
            num_logits,
            input_ids=ids_BL,
            attention_mask=self.mask_BS.long(),
            position_ids=positions_BL,
            past_key_values=cache,
            use_cache=True,
        )

    def rewind(self, num_slots: int) -> None:
        """Forgets all slots after the first `num_slots`."""
        self.mask_BS = self.mask_BS[:, :num_slots]
        for layer in self.layers:
            layer.num_used = num_slots


def start_rows(model: Any, prefix: Prefix, prompts: Sequence[Tokens], room: int, num_logits: int = 1) -> tuple[Rows, Tensor]:
    """The rows of `prompts` and the logits of their last slots, (B, num_logits, V).

    Args:
        room: tokens that a row may take in later.
        num_logits: no more than the longest prompt has tokens after the prefix.
    """
    width, num_kept = max(map(len, prompts)), len(prefix.ids)
    pads = [width - len(prompt) for prompt in prompts]
    layers = [_spread(kept, pads, num_kept, width + room) for kept in prefix.layers]
    ids_BS = torch.tensor([[0] * pad + list(prompt) for pad, prompt in zip(pads, prompts, strict=True)], device=model.device)
    real_BS = torch.arange(width, device=model.device) >= torch.tensor(pads, device=model.device)[:, None]
    rows = Rows(model, layers, real_BS[:, :num_kept])
    return rows, rows.feed(ids_BS[:, num_kept:], real_BS[:, num_kept:], num_logits)


def _spread(kept: tuple[Tensor, Tensor] | None, pads: Sequence[int], num_kept: int, capacity: int) -> SlotLayer:
    """A layer whose rows have the prefix in their first slots, shifted by their padding; its end is shifted out."""
    layer = SlotLayer(capacity, num_kept)
    if kept is None:
        return layer
    layer.lazy_initialization(*(one.expand(len(pads), -1, -1, -1) for one in kept))
    assert layer.room is not None
    for room_BHSD, one_1HPD in zip(layer.room, kept, strict=True):
        for row, pad in enumerate(pads):
            room_BHSD[row, :, pad:num_kept] = one_1HPD[0, :, : max(0, num_kept - pad)]
    return layer


def join_rows(parts: Sequence[tuple[Rows, list[int]]], room: int) -> Rows:
    """A batch of the chosen rows of each part, no wider than the longest of them; `room` as in start_rows."""
    model = parts[0][0].model
    counts_B = torch.cat([rows.count_tokens()[chosen] for rows, chosen in parts])
    width = int(counts_B.max())
    layers = []
    for index in range(len(parts[0][0].layers)):
        layers.append(_join_layers([(rows.layers[index], chosen) for rows, chosen in parts], width, room))
    mask_BS = torch.arange(width, device=counts_B.device) >= width - counts_B[:, None]
    return Rows(model, layers, mask_BS)


def _join_layers(parts: Sequence[tuple[SlotLayer, list[int]]], width: int, room: int) -> SlotLayer:
    joined = SlotLayer(width + room, width)
    num_rows = sum(len(chosen) for _, chosen in parts)
    if parts[0][0].room is None:
        return joined
    joined.lazy_initialization(*(one[:1].expand(num_rows, -1, -1, -1) for one in parts[0][0].room))
    assert joined.room is not None
    first = 0
    for layer, chosen in parts:
        assert layer.room is not None
        num_slots = min(width, layer.num_used)
        for into_BHSD, from_BHSD in zip(joined.room, layer.room, strict=True):
            taken_BHSD = from_BHSD[:, :, layer.num_used - num_slots : layer.num_used]
            into_BHSD[first : first + len(chosen), :, width - num_slots : width] = taken_BHSD[chosen]
        first += len(chosen)
    return joined


def count_alike(lengths: Sequence[int], limit: int) -> int:
    """How many of the next rows go through the model together: those without much padding, `limit` at most.

    Args:
        lengths: slots that each row needs by itself, long ones first.
    """
    alike = takewhile(
        lambda number: number * lengths[0] < BUSY_SLOTS or 4 * lengths[number] >= 3 * lengths[0], range(len(lengths))
    )
    return min(limit, sum(1 for _ in alike))
