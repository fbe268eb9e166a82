"""Greedy answers to many prompts that begin alike.

While answers grow, a finished row makes room for a waiting prompt: one pass over the weights always serves many rows.

Tensors: B rows, L slots fed at once, V vocabulary.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from prune.eval.engine.logits import Tokens, choose_tokens
from prune.eval.engine.prefix import Prefix, Rows, count_alike, join_rows, start_rows

MIN_FREE = 4
"""A batch is refilled or compacted when one row in MIN_FREE is finished: each time costs a copy of its keys and values."""


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
