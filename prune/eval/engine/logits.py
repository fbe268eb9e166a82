"""Logits -> the likeliest token, or the likelihood of given ones; an error where they are not numbers.

Tensors: B rows, L slots, V vocabulary, N tokens that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


Tokens = Sequence[int]


class BrokenLogitsError(ArithmeticError):
    """The model's logits are not numbers; `tokens` is a text for which they are not."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.tokens = tokens


@dataclass(slots=True)
class Likelihood:
    """The sum of the log-probabilities of some tokens, and whether each was the likeliest at its place."""

    logprob: float = 0.0
    is_greedy: bool = True

    def add(self, logprob: float, is_greedy: bool) -> None:
        """Takes in one more token."""
        self.logprob += logprob
        self.is_greedy &= is_greedy


def choose_tokens(logits_BV: Tensor, text_of: Callable[[int], Tokens]) -> list[int]:
    """The likeliest token of each row.

    Args:
        text_of: the tokens that a row consists of, for the error.

    Raises:
        BrokenLogitsError: some are not numbers.
    """
    best_B, tokens_B = logits_BV.float().max(dim=-1)  # a maximum that meets one that is not a number is none either
    if not best_B.isfinite().all():
        raise BrokenLogitsError(text_of(int(best_B.isfinite().logical_not().nonzero()[0])))
    chosen: list[int] = tokens_B.tolist()
    return chosen


def score_tokens(
    logits_BLV: Tensor, rows: Tensor, slots: Tensor, tokens: Tensor, text_of: Callable[[int], Tokens]
) -> tuple[list[float], list[bool]]:
    """The log-probability of each token at its row and slot, in float32, and whether it is the likeliest there.

    Args:
        text_of: the tokens that a row consists of, for the error.

    Raises:
        BrokenLogitsError: some are not numbers.
    """
    logits_NV = logits_BLV[rows, slots].float()  # of batches whose rows differ in length, many slots are not asked for
    norms_N = logits_NV.logsumexp(dim=-1)
    logprobs_N = logits_NV.gather(1, tokens[:, None])[:, 0] - norms_N
    if not norms_N.isfinite().all():
        raise BrokenLogitsError(text_of(int(rows[norms_N.isfinite().logical_not()][0])))
    return logprobs_N.tolist(), (logits_NV.argmax(dim=-1) == tokens).tolist()
