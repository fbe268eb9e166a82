"""The sizes of a model that settle its work, from its configuration alone or the headers of its files. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prune.config.model import ModelConfig
from prune.errors import UserError
from prune.models.checks import text_settings
from prune.models.fetch import settings_here
from prune.models.files import model_linears

_PLAIN_MLP = frozenset({"opt", "gpt2", "gpt_neox", "gpt_neo", "gptj", "phi", "falcon", "bloom", "mpt", "starcoder2"})
"""Types whose MLP has two linears; that of the others has a gate beside them."""

_NAMES = {
    "blocks": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "inner": ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"),
    "vocab": ("vocab_size",),
}
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that settle the work of a model."""

    num_blocks: int
    linears: tuple[tuple[int, int], ...]
    """(outputs, inputs) of those of one block, in the order of the walk."""
    hidden: int
    vocab: int
    attention: int
    """Heads times the size of one: what attention multiplies for each pair of tokens."""
    heads: int

    @property
    def block_weights(self) -> int:
        """The weights in the linears of a block."""
        return sum(outputs * inputs for outputs, inputs in self.linears)

    @property
    def num_weights(self) -> int:
        """Those of all blocks, and of the embedding and the head once."""
        return self.num_blocks * self.block_weights + self.vocab * self.hidden

    @property
    def inputs(self) -> tuple[int, ...]:
        """The widths of the distinct inputs of a block's linears: three of the hidden width at most, which query, key and
        value share, or gate and up, and those of the others."""
        of_hidden = [size for _, size in self.linears if size == self.hidden]
        return (*of_hidden[:3], *(size for _, size in self.linears if size != self.hidden))

    def block_flops(self, num_tokens: float, seq_len: float) -> float:
        """Of one block over so many tokens in sequences of `seq_len`: its linears, and causal attention."""
        return num_tokens * (2 * self.block_weights + 2 * seq_len * self.attention)

    def head_flops(self, num_tokens: float) -> float:
        """Of the logits of so many tokens."""
        return 2 * num_tokens * self.vocab * self.hidden


def model_shape(config: ModelConfig) -> ModelShape | None:
    """The sizes of a model in a folder or in the hub's local cache.

    None where its configuration does not tell: it is not here, is a GGUF file, has experts, or is of an unusual form.
    """
    settings = settings_here(config)
    settings = settings | text_settings(settings)
    sizes = {name: _first(settings, keys) for name, keys in _NAMES.items()}
    if any(settings.get(key) for key in _EXPERTS) or not (sizes["blocks"] and sizes["hidden"] and sizes["vocab"]):
        return None
    try:
        stored = model_linears(config)
    except UserError:  # files are missing: checked elsewhere
        stored = None
    heads = sizes["heads"] or 1
    head = settings.get("head_dim") or sizes["hidden"] // heads
    linears = _mean_block(stored) if stored else _usual_block(settings, sizes, heads, head)
    return ModelShape(sizes["blocks"], linears, sizes["hidden"], sizes["vocab"], heads * head, heads)


def _first(settings: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    return next((value for key in keys if isinstance(value := settings.get(key), int)), 0)


def _mean_block(linears: Mapping[str, tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The linears of the first block, which stands for all."""
    first = min(int(name.partition(".")[0]) for name in linears)
    return tuple(shape for name, shape in linears.items() if int(name.partition(".")[0]) == first)


def _usual_block(
    settings: Mapping[str, Any], sizes: Mapping[str, int], heads: int, head: int
) -> tuple[tuple[int, int], ...]:
    """Query, key, value, output, and the two or three linears of an MLP."""
    hidden, inner = sizes["hidden"], sizes["inner"] or 4 * sizes["hidden"]
    keys = (settings.get("num_key_value_heads") or heads) * head
    up = [(inner, hidden)] * (1 if settings.get("model_type") in _PLAIN_MLP else 2)
    return ((heads * head, hidden), (keys, hidden), (keys, hidden), (hidden, heads * head), *up, (hidden, inner))
