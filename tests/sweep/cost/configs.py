"""Configurations of models that are not here."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LLAMA_7B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "vocab_size": 32000,
}
"""Llama 2 7B, which has 6,738,415,616 weights with both embeddings and the norms."""


def write_config(folder: Path, settings: Mapping[str, Any]) -> None:
    """Put a config.json there, and no weights."""
    (folder / "config.json").write_text(json.dumps(settings))
