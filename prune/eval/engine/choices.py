"""Likelihoods of choices after contexts that begin alike.

Tensors: B rows, L slots fed at once, V vocabulary.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch

from prune.eval.engine.logits import Likelihood, Tokens, score_tokens
from prune.eval.engine.prefix import Prefix, Rows, count_alike, join_rows, start_rows
from prune.models.losses import MAX_LOGITS

COPIED_SLOTS = 256
"""Slots whose keys and values are copied in the time in which one goes through the model; on CPUs and GPUs they are more."""


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
