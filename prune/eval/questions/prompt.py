"""The study's few-shot prompt, as text.

Source: the few-shot generation of arXiv 2410.07461.
"""

import hashlib
from collections.abc import Iterable

from prune.data.dataset import RATIONALE_END, AnswerKind, Example

BLOCK_SEPARATOR = "\n\n"
"""Between exemplars, before the question, and where an answer ends."""

PAIR_TEMPLATES = ("{question} {answer}", f"{{question}} {{rationale}}{RATIONALE_END} {{answer}}.")
"""What a question and its answer look like: without rationale, and with it."""

MAX_NEW_TOKENS = {AnswerKind.NUMBER: 64, AnswerKind.LABEL: 20, AnswerKind.TEXT: 256}
"""Tokens that an answer may take. The study allows 256 for open answers, which matters to numbers with a rationale only:
without one, a number stands in the first few tokens and the blank line ends it."""

RATIONALE_NEW_TOKENS = 256
"""Tokens that a rationale and its answer may take, as in the study."""


def few_shot_prefix(exemplars: Iterable[Example], *, rationale: bool = False) -> str:
    """The exemplars with their answers, each followed by a blank line; empty without exemplars."""
    return "".join(example.pair(rationale=rationale) + BLOCK_SEPARATOR for example in exemplars)


def text_hash(text: str) -> str:
    """The SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
