"""How many tokens a loaded model can look at, text and answer together."""

from collections.abc import Sequence
from typing import Any

from prune.errors import UserError

_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
"""What architectures call it in their configuration, the usual name first."""


def find_window(model: Any) -> int | None:
    """The model's window in tokens; None when its configuration names none (then there is no fixed limit)."""
    config = model.config.get_text_config()
    return next((getattr(config, name) for name in _NAMES if isinstance(getattr(config, name, None), int)), None)


def check_window(
    texts: Sequence[str], tokenizer: Any, window: int | None, where: str, *, add_special_tokens: bool, room: int = 0
) -> int:
    """The length of the longest text in tokens.

    Args:
        room: tokens that an answer may take beside it.

    Raises:
        UserError: texts that do not fit the window; something would be cut off at their beginning.
    """
    encoded = tokenizer(list(texts), add_special_tokens=add_special_tokens, return_attention_mask=False, verbose=False)
    lengths = [len(ids) for ids in encoded["input_ids"]]
    longest = max(lengths)
    if window is None or longest + room <= window:
        return longest
    too_long = [index for index, length in enumerate(lengths) if length + room > window]
    shown = ", ".join(str(index) for index in too_long[:5]) + (", ..." if len(too_long) > 5 else "")
    more = f" and its answer may take {room} more" if room else ""
    raise UserError(
        f"{where}: {len(too_long)} of {len(texts)} prompts do not fit the model's window of {window} tokens: the longest "
        f"has {longest}{more} (items {shown}). Lower eval.num_fewshot, leave the set out, or take a model with a longer "
        "window."
    )
