"""The headers of safetensors files: type and shape of each tensor, and which linears these are. Needs no torch."""

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

from safetensors import SafetensorError, safe_open

from prune.errors import UserError

TRANSPOSED = frozenset({"gpt2"})
"""Types whose matrices are stored I x O."""

PLAIN_TYPES = TRANSPOSED | {
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "opt", "gpt_neox", "phi", "phi3", "falcon",
    "olmo2", "stablelm",
}  # fmt: skip
"""Types whose files show their linears: each matrix of a block is one, under the name that it has in the model."""

_IN_BLOCK = re.compile(r"((?:\D*\.)?)(\d+)\.(.+)")
"""List of blocks, number of the block, name in the block."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file."""

    dtype: str
    """As safetensors names it: F32, BF16, F8_E4M3, I32."""
    shape: tuple[int, ...]


Header: TypeAlias = dict[str, Stored]
"""Name of a tensor in the files -> what is stored."""


def read_header(paths: list[Path]) -> Header | None:
    """All tensors in safetensors files; None when one of `paths` is of another kind.

    Raises:
        UserError: a file is not as long as its header says, or this is no header.
    """
    header: Header = {}
    for path in paths:
        if path.suffix != ".safetensors":
            return None
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118 - not a dict
                    tensor = file.get_slice(name)
                    header[name] = Stored(tensor.get_dtype(), tuple(tensor.get_shape()))
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} is cut short or damaged ({error}). Fetch it again.") from error
    return header


def weight_bytes(header: Header, dtype: str | None = None) -> int:
    """The bytes of all tensors, as they are stored or in `dtype` (bfloat16)."""
    return sum(prod(stored.shape) * _num_bits(dtype or stored.dtype) for stored in header.values()) // 8


def _num_bits(dtype: str) -> int:
    found = re.search(r"\d+", dtype)
    return int(found[0]) if found else 8  # BOOL


def decoder_blocks(header: Header) -> tuple[str, dict[int, Header]]:
    """The list of blocks with the most tensors: its name, with a dot, and number -> the block's tensors by name in it."""
    lists: dict[str, dict[int, Header]] = {}
    for name, stored in header.items():
        if found := _IN_BLOCK.fullmatch(name):
            lists.setdefault(found[1], {}).setdefault(int(found[2]), {})[found[3]] = stored
    return max(lists.items(), key=lambda item: sum(map(len, item[1].values())), default=("", {}))


def linear_tensors(settings: dict[str, Any], header: Header | None) -> dict[str, str] | None:
    """`<number of the block>.<name in the block>` of each linear -> its tensor's name; None where the files do not tell."""
    if settings.get("model_type") not in PLAIN_TYPES or header is None:
        return None
    place, blocks = decoder_blocks(header)
    return {
        f"{number}.{name.removesuffix('.weight')}": f"{place}{number}.{name}"
        for number, block in sorted(blocks.items())
        for name, stored in block.items()
        if name.endswith(".weight") and len(stored.shape) == 2
    } or None


def linear_shapes(settings: dict[str, Any], header: Header | None) -> dict[str, tuple[int, int]] | None:
    """`<number of the block>.<name in the block>` -> (outputs, inputs) of each linear; None where the files do not tell."""
    tensors = linear_tensors(settings, header)
    if tensors is None or header is None:
        return None
    shapes = {name: header[tensor].shape for name, tensor in tensors.items()}
    is_transposed = settings.get("model_type") in TRANSPOSED
    return {name: (second, first) if is_transposed else (first, second) for name, (first, second) in shapes.items()}
