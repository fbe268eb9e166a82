"""Rationales as a series of steps: one sentence per step, joined by ". ", without a final period."""

import re
from collections.abc import Iterable

_ENDS = " \t.,;:"
_ABBREVIATIONS = r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bJr)(?<!\bSr)(?<!\bvs)(?<!\b[A-Za-z])"
_SENTENCE_END = re.compile(rf"(?:{_ABBREVIATIONS}\.|[!?])\s+")


def join_steps(steps: Iterable[str]) -> str | None:
    """The steps as sentences of one line, or None when nothing is left of them.

    A trailing ``. , ; :`` of a step gives way to the period that joins it to the next; a question or exclamation mark is
    kept, except at the very end, where the rationale is followed by ". So the answer is".
    """
    cleaned = [" ".join(step.split()).rstrip(_ENDS) for step in steps]
    text = ""
    for step in filter(None, cleaned):
        gap = "" if not text else " " if text[-1] in "!?" else ". "
        text += gap + step
    return text.rstrip(_ENDS + "!?") or None


def split_steps(rationale: str) -> list[str]:
    """The sentences of a rationale: what `num_cot_steps` counts.

    A sentence ends at ``. ! ?`` before white space, but not after a title (Mr.), a single letter (P. E.) or inside a number.
    """
    return [sentence for sentence in _SENTENCE_END.split(rationale.strip()) if sentence]
