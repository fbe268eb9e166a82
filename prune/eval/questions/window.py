"""How many tokens a loaded model can look at, text and answer together, and which items need more."""

from collections.abc import Mapping, Sequence
from typing import Any

from prune.config.eval import TooLong
from prune.errors import UserError

_SPARE = 8
"""Tokens that a tokenizer may put around a text by itself; else a token has a byte at least."""


def find_too_long(
    texts: Sequence[Sequence[str]], tokenizer: Any, window: int | None, *, add_special_tokens: bool, room: int = 0
) -> dict[int, int]:
    """Item -> length of its longest text in tokens, for the items that do not fit the window.

    Args:
        texts: what is put before the model for each item; each must fit.
        room: tokens that an answer may take beside it.
    """
    if window is None:
        return {}
    suspects = [
        index for index, several in enumerate(texts) if max(len(one.encode()) for one in several) + _SPARE + room > window
    ]
    flat = [text for index in suspects for text in texts[index]]
    if not flat:
        return {}
    encoded = tokenizer(flat, add_special_tokens=add_special_tokens, return_attention_mask=False, verbose=False)
    lengths = iter(map(len, encoded["input_ids"]))
    longest = {index: max(next(lengths) for _ in texts[index]) for index in suspects}
    return {index: length for index, length in longest.items() if length + room > window}


def choose_fitting(
    too_long: Mapping[int, int], num_items: int, where: str, *, window: int | None, room: int, policy: TooLong
) -> list[int]:
    """The items that are asked.

    Args:
        too_long: what find_too_long returned.

    Raises:
        UserError: items do not fit, and the policy does not leave them out, or would leave none.
    """
    if too_long and (policy is TooLong.error or len(too_long) == num_items):
        raise UserError(_refusal(too_long, num_items, where, window, room))
    return [index for index in range(num_items) if index not in too_long]


def _refusal(too_long: Mapping[int, int], num_items: int, where: str, window: int | None, room: int) -> str:
    shown = ", ".join(map(str, list(too_long)[:5])) + (", ..." if len(too_long) > 5 else "")
    more = f" and its answer may take {room} more" if room else ""
    skip = ", or leave these items out (eval.too_long=skip; the result says which)" if len(too_long) < num_items else ""
    return (
        f"{where}: {len(too_long)} of {num_items} prompts do not fit the model's window of {window} tokens: the longest "
        f"has {max(too_long.values())}{more} (items {shown}). Lower eval.num_fewshot, leave the set out, take a model with "
        f"a longer window{skip}."
    )


def describe_skipped(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A warning for each metric, as in result.json, some of whose items were too long for the model and left out."""
    skipped = {name: metric["protocol"].get("skipped_ids", []) for name, metric in metrics.items()}
    return [
        f"{name}: {len(ids)} of {len(ids) + metrics[name]['num_items']} items do not fit the model's window and were left "
        "out (eval.too_long=skip): its value is that of the others."
        for name, ids in skipped.items()
        if ids
    ]
