"""How many weights of a model's linears are 0, by its safetensors files. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from prune.config.content import looked_up
from prune.config.model import ModelConfig
from prune.models.files import local_folder, model_header, model_settings, weight_files
from prune.models.headers import linear_tensors

if TYPE_CHECKING:
    import numpy as np

SAMPLE = 1 << 15
"""Weights at the beginning of each linear that are looked at first."""
FEW = 0.005
"""A model with a smaller share of zeros among these is dense: the rest of its files is not read."""
_WITHOUT_SIGN = {"F64": ("<u8", 2**63 - 1), "F32": ("<u4", 2**31 - 1), "F16": ("<u2", 2**15 - 1), "BF16": ("<u2", 2**15 - 1)}
"""Type of a float, as safetensors names it -> that of its bits, and all of them but the sign's."""


def linear_zeros(config: ModelConfig) -> Mapping[str, int] | None:
    """`<number of the block>.<name in the block>` -> the zeros of each linear of a model in a folder.

    None where its files do not show its linears, hold no plain floats, or begin with hardly a zero.

    Raises UserError when a file of weights is missing, cut short or damaged.
    """
    folder = local_folder(config)
    if folder is None or config.gguf_file is not None:
        return None
    tensors = linear_tensors(model_settings(config), model_header(folder))
    return None if tensors is None else looked_up(("zeros", folder), lambda: _count(weight_files(folder), tensors))


def _count(files: list[Path], tensors: Mapping[str, str]) -> dict[str, int] | None:
    bits = {name: each for path in files for name, each in _bits(path).items()}
    if any(tensor not in bits for tensor in tensors.values()):
        return None
    own = {name: bits[tensor] for name, tensor in tensors.items()}
    begun = [(each[:SAMPLE], mask) for each, mask in own.values()]
    if sum(_num_zero(*each) for each in begun) < FEW * sum(len(each) for each, _ in begun):
        return None
    return {name: _num_zero(*each) for name, each in own.items()}


def _num_zero(bits: np.ndarray, mask: int) -> int:
    import numpy as np

    return len(bits) - int(np.count_nonzero(bits & mask))


def _bits(path: Path) -> dict[str, tuple[np.ndarray, int]]:
    """Name of each tensor of floats in a file -> (its bits, read as they are looked at; a mask of all but the sign)."""
    import numpy as np

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    data = np.memmap(path, np.uint8, "r", offset=8 + length)
    found: dict[str, tuple[np.ndarray, int]] = {}
    for name, entry in header.items():
        if (known := _WITHOUT_SIGN.get(entry.get("dtype", ""))) is not None:
            kind, mask = known
            found[name] = data[slice(*entry["data_offsets"])].view(kind), mask
    return found
