"""How many tokens a model can see, by its configuration."""

from typing import Any

WINDOW_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
"""Names of the window in the configurations of architectures, the usual one first."""


def find_window(model: Any) -> int | None:
    """The model's window in tokens; None when its configuration names none (then there is no fixed limit)."""
    config = model.config.get_text_config()
    return next((getattr(config, key) for key in WINDOW_KEYS if isinstance(getattr(config, key, None), int)), None)
