"""Conversations as calibration text: rows become turns, and turns the tokens of the tokenizer's own chat template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune.config.calib import PromptConfig
from prune.data.dataset import Example
from prune.models.chat import Turn, turn_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Turns:
    """Some turns of a conversation; its length is in characters."""

    turns: Sequence[Turn]

    @property
    def text(self) -> str:
        """What is said, without roles."""
        return "\n".join(turn["content"] for turn in self.turns)

    def __len__(self) -> int:
        return sum(len(turn["content"]) for turn in self.turns)


def turns_of(example: Example, *, rationale: bool) -> Turns:
    """A row of a question set: the user asks, the assistant answers, as other prompts write question and answer."""
    asked = {"role": "user", "content": example.question}
    return Turns([asked, {"role": "assistant", "content": example.reply(rationale=rationale)}])


def with_system(turns: Sequence[Turn], system: str | None) -> list[Turn]:
    """The conversation with `system` before it, where something is to be said and it has no system turn of its own."""
    is_needed = system is not None and turns[0]["role"] != "system"
    return [{"role": "system", "content": str(system)}, *turns] if is_needed else list(turns)


def chat_encoder(tokenizer: PreTrainedTokenizerBase, prompt: PromptConfig) -> Callable[[Sequence[Turns]], list[int]]:
    """From rows of a question set to the tokens of one sequence, of any length.

    With `num_shots` the rows are the turns of one conversation; without it each is a conversation of its own, one after the
    other: a sequence then holds what the model has learned to see, and not a talk of forty questions that nobody holds.
    """

    def encode(rows: Sequence[Turns]) -> list[int]:
        one = [turn for row in rows for turn in row.turns]
        conversations = [row.turns for row in rows] if prompt.num_shots is None else [one]
        return [token for turns in conversations for token in turn_ids(tokenizer, with_system(turns, prompt.system))]

    return encode
