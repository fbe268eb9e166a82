"""Whether prompts begin with BOS."""

from dataclasses import dataclass
from typing import Any

from prune.errors import UserError


@dataclass(frozen=True, slots=True)
class PromptBos:
    """How prompts get their special tokens."""

    present: bool
    """Whether a prompt begins with BOS."""
    by_tokenizer: bool
    """Whether the tokenizer adds what it usually does."""
    text: str = ""
    """BOS written before the prompt, where the tokenizer does not add it."""


def choose_prompt_bos(tokenizer: Any, *, always: bool, where: str) -> PromptBos:
    """What the tokenizer puts before a text is kept; BOS is written out where `always` asks for it and it adds none.

    A tokenizer that also puts something after a text (an end-of-sequence token) is not asked to add anything.

    Raises:
        UserError: `always`, and the tokenizer has no BOS.
    """
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    usual = tokenizer("a")["input_ids"]
    only_before = usual[len(usual) - len(plain) :] == plain
    habit = tokenizer.bos_token_id is not None and usual[:1] == [tokenizer.bos_token_id] and usual != plain
    if only_before and (habit or not always):
        return PromptBos(present=habit, by_tokenizer=True)
    if not habit and not always:
        return PromptBos(present=False, by_tokenizer=False)
    if tokenizer.bos_token_id is None:
        raise UserError(f"{where}: eval.bos=chunk asks for BOS in every prompt, but the tokenizer has no BOS token.")
    return PromptBos(present=True, by_tokenizer=False, text=tokenizer.bos_token)
