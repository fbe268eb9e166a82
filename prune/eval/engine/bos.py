"""Whether prompts begin with BOS."""

from dataclasses import dataclass
from typing import Any

from prune.config.eval import Bos
from prune.models.bos import adds_bos, bos_before_text


@dataclass(frozen=True, slots=True)
class PromptBos:
    """How prompts get their special tokens."""

    present: bool
    """Whether a prompt begins with BOS."""
    by_tokenizer: bool
    """Whether the tokenizer adds what it usually does."""
    text: str = ""
    """BOS written before the prompt, where the tokenizer does not add it."""


def choose_prompt_bos(bos: Bos, tokenizer: Any, where: str) -> PromptBos:
    """How prompts get the special tokens that the policy puts before them.

    The tokenizer adds them where it adds what is wanted and nothing after the text (an end-of-sequence token, say); else BOS
    is written out.

    Raises:
        UserError: see `bos_before_text`.
    """
    present = bos_before_text(bos, tokenizer, f"{where}: eval.bos") is not None
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    usual = tokenizer("a")["input_ids"]
    only_before = usual[len(usual) - len(plain) :] == plain
    if only_before and bos is not Bos.none and present == adds_bos(tokenizer):
        return PromptBos(present=present, by_tokenizer=True)
    return PromptBos(present=present, by_tokenizer=False, text=tokenizer.bos_token if present else "")
