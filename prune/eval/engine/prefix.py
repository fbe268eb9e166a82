"""Greedy answers and likelihoods of many prompts that begin alike: what they share is computed once.

The longest common prefix of all prompts goes through the model once; its keys and values are kept. A batch is padded on the
left, `[padding][prefix][own tokens]`: the first P slots of its cache are filled from the kept prefix, each row shifted by
its padding, and only the slots after them go through the model. In a row with padding these begin with the last tokens of
the prefix, which are computed again in place of padding. So each row is contiguous and ends in the last slot: windows that
count slots (Gemma 3, Mistral) see the right tokens, and position ids count real tokens only.

While answers grow, a finished row makes room for a waiting prompt: one pass over the weights always serves many rows.

Tensors: B rows, H heads, S slots (padding, prefix, own tokens), L slots fed at once, P prefix tokens, D head size,
V vocabulary.
"""

import inspect
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile, zip_longest
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from prune.eval.engine.logits import Likelihood, Tokens, choose_tokens, score_tokens
from prune.models.losses import MAX_LOGITS

MIN_FREE = 4
"""A batch is refilled or compacted when one row in MIN_FREE is finished: each time costs a copy of its keys and values."""


COPIED_SLOTS = 256
"""Slots whose keys and values are copied in the time in which one goes through the model; on CPUs and GPUs they are more."""

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


class _Answers:
    """The answers that are still growing, by the number of their prompt."""

    def __init__(
        self,
        prompts: Sequence[Tokens],
        is_complete: Callable[[list[int]], bool],
        deliver: Callable[[int, list[int]], None],
    ) -> None:
        self.growing: dict[int, list[int]] = {}
        self._prompts = prompts
        self._is_complete = is_complete
        self._deliver = deliver

    def take_in(self, members: Sequence[int], logits_BV: Tensor) -> None:
        """Appends each row's likeliest token; complete answers are delivered and grow no more."""
        chosen = choose_tokens(logits_BV, lambda row: [*self._prompts[members[row]], *self.growing.get(members[row], [])])
        for member, token in zip(members, chosen, strict=True):
            answer = self.growing.get(member)
            if answer is None:
                continue
            answer.append(token)
            if self._is_complete(answer):
                self._deliver(member, self.growing.pop(member))

    def unfinished(self, members: Sequence[int]) -> list[int]:
        """The places of the rows that still grow."""
        return [place for place, member in enumerate(members) if member in self.growing]


def generate(
    model: Any,
    prefix: Prefix,
    prompts: Sequence[Tokens],
    *,
    batch_size: int,
    num_new: int,
    is_complete: Callable[[list[int]], bool],
    deliver: Callable[[int, list[int]], None],
) -> None:
    """Calls `deliver` with (number of the prompt, greedy answer) for each prompt, as soon as its answer is complete.

    Args:
        prompts: each begins with the prefix and goes on; long ones first.
        batch_size: rows that grow at once.
        num_new: tokens that an answer may have at most; `is_complete` must say so.

    Raises:
        BrokenLogitsError: the model's logits are not numbers.
    """
    waiting, answers = deque(range(len(prompts))), _Answers(prompts, is_complete, deliver)
    parts: list[tuple[Rows, list[int]]] = []  # the batch, as rows and the numbers of their prompts
    while waiting or answers.growing:
        num_free = batch_size - len(answers.growing)
        while waiting and num_free * MIN_FREE >= batch_size:
            num_fresh = count_alike([len(prompts[member]) - len(prefix.ids) for member in waiting], num_free)
            fresh = [waiting.popleft() for _ in range(num_fresh)]
            answers.growing |= {member: [] for member in fresh}
            rows, logits_BLV = start_rows(model, prefix, [prompts[member] for member in fresh], num_new)
            answers.take_in(fresh, logits_BLV[:, -1])
            parts.append((rows, fresh))
            num_free = batch_size - len(answers.growing)
        parts = _compact(parts, answers, num_new)
        for rows, members in parts:
            last = [answers.growing.get(member, [0])[-1] for member in members]
            ids_BL = torch.tensor(last, device=model.device)[:, None]
            answers.take_in(members, rows.feed(ids_BL, torch.ones_like(ids_BL, dtype=torch.bool))[:, -1])


def _compact(parts: list[tuple[Rows, list[int]]], answers: _Answers, room: int) -> list[tuple[Rows, list[int]]]:
    """One part with the unfinished rows of all, or none; a single part stays while most of its rows are unfinished."""
    unfinished = [(rows, answers.unfinished(members)) for rows, members in parts]
    unfinished = [(rows, places) for rows, places in unfinished if places]
    num_rows = sum(len(members) for _, members in parts)
    num_finished = num_rows - len(answers.growing)
    if not unfinished:
        return []
    if len(parts) == 1 and num_finished * MIN_FREE < num_rows:
        return parts
    members = [member for _, members in parts for member in members if member in answers.growing]
    return [(join_rows(unfinished, room), members)]


def find_likelihoods(
    model: Any, prefix: Prefix, contexts: Sequence[Tokens], choices: Sequence[Sequence[Tokens]]
) -> list[list[Likelihood]]:
    """The likelihood of each choice after its context.

    Where each context has a single choice, both go through the model at once. Else a context goes through it once, which is
    all that choices of one token need. Longer ones go through it without their last token: those of about one length
    together, each after a copy of its context's keys and values; or, where that would cost more, the first of every context
    together (the longest, so that turns are even), then the second, and the rows forget each again.

    Args:
        contexts: each begins with the prefix and goes on; no more than fit into a batch.
        choices: what may follow each context; none is empty.

    Raises:
        BrokenLogitsError: the model's logits are not numbers.
    """
    if len(contexts) <= count_whole(model, choices):
        return _score_whole(model, prefix, contexts, [several[0] for several in choices])
    room = max(len(choice) for several in choices for choice in several) - 1
    rows, logits_BLV = start_rows(model, prefix, contexts, room)
    found = [[Likelihood() for _ in several] for several in choices]
    first_tokens = [(place, choice[0]) for place, several in enumerate(choices) for choice in several]
    places, tokens = torch.tensor(first_tokens, device=model.device).T
    slots = torch.zeros_like(places)
    logprobs, greedy = score_tokens(logits_BLV, places, slots, tokens, contexts.__getitem__)
    flat = [likelihood for several in found for likelihood in several]
    for likelihood, logprob, is_greedy in zip(flat, logprobs, greedy, strict=True):
        likelihood.add(logprob, is_greedy)
    longer = [
        (place, choice, likelihood)
        for place, (several, ours) in enumerate(zip(choices, found, strict=True))
        for choice, likelihood in zip(several, ours, strict=True)
        if len(choice) > 1
    ]
    _take_in_choices(rows, contexts, sorted(longer, key=lambda pair: -len(pair[1])))
    return found


_Pair = tuple[int, Tokens, Likelihood]
"""The place of a context, a choice of more than one token after it, and the likelihood of that so far."""


def _take_in_choices(rows: Rows, contexts: Sequence[Tokens], pairs: Sequence[_Pair]) -> None:
    """Adds to each likelihood the tokens of its choice after the first, in the way that costs less; long choices first."""
    num_slots = rows.mask_BS.shape[1]
    turns, alike = _take_turns(pairs), _group_alike(pairs, len(contexts))
    num_in_turns = sum(len(contexts) * _num_after_first(turn) for turn in turns)
    num_alike = sum(len(group) * _num_after_first(group) for group in alike)
    if num_alike + len(pairs) * num_slots / COPIED_SLOTS < num_in_turns:
        for group in alike:
            places = [place for place, _, _ in group]
            copies = join_rows([(rows, places)], _num_after_first(group))
            _follow(copies, [contexts[place] for place in places], [pair[1:] for pair in group])
        return
    for turn in turns:
        by_place = {place: (choice, likelihood) for place, choice, likelihood in turn}
        _follow(rows, contexts, [by_place.get(place) for place in range(len(contexts))])
        rows.rewind(num_slots)


def _take_turns(pairs: Sequence[_Pair]) -> list[list[_Pair]]:
    """The first choice of every context, then the second, ..."""
    by_place: dict[int, list[_Pair]] = {}
    for pair in pairs:
        by_place.setdefault(pair[0], []).append(pair)
    return [[pair for pair in turn if pair is not None] for turn in zip_longest(*by_place.values())]


def _group_alike(pairs: Sequence[_Pair], limit: int) -> list[list[_Pair]]:
    """Those of about one length together, `limit` at most."""
    groups: list[list[_Pair]] = []
    rest = list(pairs)
    while rest:
        num = count_alike([len(choice) for _, choice, _ in rest], limit)
        groups.append(rest[:num])
        rest = rest[num:]
    return groups


def _num_after_first(pairs: Sequence[_Pair]) -> int:
    """The slots that the longest choice takes: its first token is asked of the context alone."""
    return max(len(choice) for _, choice, _ in pairs) - 1


def count_whole(model: Any, choices: Sequence[Sequence[Tokens]]) -> int:
    """How many of the next contexts may go through the model at once with their choice; 0 where one has several choices.

    Their logits are MAX_LOGITS at most.
    """
    if any(len(several) > 1 for several in choices):
        return 0
    longest = max(len(several[0]) for several in choices)
    return int(min(len(choices), MAX_LOGITS // (longest * model.config.get_text_config().vocab_size)))


def _score_whole(
    model: Any, prefix: Prefix, contexts: Sequence[Tokens], choices: Sequence[Tokens]
) -> list[list[Likelihood]]:
    """The likelihood of each context's one choice, from a single pass over both."""
    num_logits = max(map(len, choices))
    fed = [[*context, *choice[:-1]] for context, choice in zip(contexts, choices, strict=True)]
    _, logits_BLV = start_rows(model, prefix, fed, room=0, num_logits=num_logits)
    asked = [
        (row, num_logits - len(choice) + place, token)
        for row, choice in enumerate(choices)
        for place, token in enumerate(choice)
    ]
    rows, slots, tokens = torch.tensor(asked, device=model.device).T
    found = [Likelihood() for _ in choices]
    scores = score_tokens(logits_BLV, rows, slots, tokens, fed.__getitem__)
    for (row, _, _), logprob, is_greedy in zip(asked, *scores, strict=True):
        found[row].add(logprob, is_greedy)
    return [[likelihood] for likelihood in found]


def _follow(rows: Rows, contexts: Sequence[Tokens], chosen: Sequence[tuple[Tokens, Likelihood] | None]) -> None:
    """Adds to each likelihood the tokens of its choice after the first; at most MAX_LOGITS logits at once."""
    vocab_size = rows.model.config.get_text_config().vocab_size
    slice_len = max(1, MAX_LOGITS // (len(chosen) * vocab_size))
    num_fed = max(len(pair[0]) for pair in chosen if pair) - 1
    whole = [[*context, *(pair[0] if pair else [])] for context, pair in zip(contexts, chosen, strict=True)]
    for start in range(0, num_fed, slice_len):
        num_slots = min(slice_len, num_fed - start)
        fed = [list(pair[0][start:-1][:num_slots]) if pair else [] for pair in chosen]
        real_BL = torch.tensor([[place < len(ids) for place in range(num_slots)] for ids in fed], device=rows.model.device)
        ids_BL = torch.tensor([ids + [0] * (num_slots - len(ids)) for ids in fed], device=rows.model.device)
        logits_BLV = rows.feed(ids_BL, real_BL, num_slots)
        places, slots = real_BL.nonzero().T
        owners = [(pair[1], token) for pair in chosen if pair for token in pair[0][start + 1 :][:num_slots]]
        tokens = torch.tensor([token for _, token in owners], device=rows.model.device)
        scores = score_tokens(logits_BLV, places, slots, tokens, whole.__getitem__)
        for (likelihood, _), logprob, is_greedy in zip(owners, *scores, strict=True):
            likelihood.add(logprob, is_greedy)
