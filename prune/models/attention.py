"""What config.json shows of a model whose attention cannot be seen. Needs no torch."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prune.models.checks import text_settings

_WITHOUT = frozenset({"linear_attention", "mamba", "mamba2", "conv", "recurrent", "mlp", "moe"})
"""Kinds of block, as the lists of config.json name them, that have no softmax attention."""
_LISTS = ("layer_types", "layers_block_type", "block_types")
_REGISTRY = "ALL_ATTENTION_FUNCTIONS"
"""The registry from which the code of a model in transformers takes its attention function."""
_WRAPPED = "AutoModel.from_config"
"""The call in the code of a model whose blocks are defined in another file."""


def hidden_attention(settings: dict[str, Any]) -> str | None:
    """Why the attention of each block cannot be seen in the model with this config.json; None where it shows no reason."""
    own = settings | text_settings(settings)
    kind, listed = str(own.get("model_type", "")), (own.get(name) for name in _LISTS)
    without = next((each for kinds in listed if isinstance(kinds, list) for each in kinds if each in _WITHOUT), None)
    if without is not None:
        return f"blocks of this {kind} are {without} (config.json), without a softmax"
    source = _source(kind)
    if source is not None and not any(name in source for name in (_REGISTRY, _WRAPPED)):
        return f"a {kind} has no attention, or computes it outside transformers' {_REGISTRY}"
    return None


def _source(kind: str) -> str | None:
    """The file of the installed transformers that defines a model of this type; None where it is not found."""
    spec = find_spec("transformers")
    if spec is None or spec.origin is None or not kind.replace("_", "").replace("-", "").isalnum():
        return None
    for name in (kind.replace("-", "_"), kind.removesuffix("_text")):
        path = Path(spec.origin).parent / "models" / name / f"modeling_{name}.py"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return None
