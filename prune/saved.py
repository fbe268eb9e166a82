"""A pruned model on disk, so that a score that is asked for later needs no second pruning.

save=mask keeps a bit a weight, which is enough where a method only removes (wanda, magnitude, random); save=model keeps the
new weights of all linears. Either is used only if it gives the very weights that were scored before, by their hash.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from prune.config import Save
from prune.files import write_whole
from prune.models import find_blocks, find_linears, read_weight, weights_sha256, write_weight

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MASK_FILE = "mask.safetensors"
WEIGHTS_FILE = "weights.safetensors"


class MaskKeeper:
    """Collects the masks of a walk, packed to a bit a weight."""

    def __init__(self) -> None:
        self.packed: dict[str, Tensor] = {}

    def __call__(self, block: int, name: str, mask_OI: Tensor) -> None:
        """Keep the mask of one linear."""
        bits = np.packbits(mask_OI.cpu().numpy().reshape(-1))
        self.packed[f"{block}.{name}"] = torch.from_numpy(bits)


def save_pruned(folder: Path, save: Save, model: "PreTrainedModel", masks: MaskKeeper | None) -> None:
    """Keep what `save` asks for, whole or not at all.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    if save is Save.mask:
        assert masks is not None, "masks are kept while pruning"
        _write(folder / MASK_FILE, masks.packed)
    if save is Save.model:
        _write(folder / WEIGHTS_FILE, {name: weight.contiguous() for name, weight in _named_weights(model).items()})


def restore_pruned(folder: Path, model: "PreTrainedModel", sha256: str) -> bool:
    """Give a dense `model` the saved weights and return True, if they are the ones with this hash; else leave it dense."""
    for file, apply in ((WEIGHTS_FILE, _take_weight), (MASK_FILE, _apply_mask)):
        saved = _read(folder / file)
        if saved is not None and _restore(model, saved, apply, sha256):
            return True
    return False


def read_mask(folder: Path, shapes: Mapping[str, tuple[int, int]]) -> dict[str, Tensor] | None:
    """Name (`block.linear`) -> mask O x I of a cell that saved its masks; None when it did not."""
    saved = _read(folder / MASK_FILE)
    return None if saved is None else {name: _unpack(saved[name], shape) for name, shape in shapes.items()}


def _restore(
    model: "PreTrainedModel", saved: Mapping[str, Tensor], apply: Callable[[Tensor, Tensor], Tensor], sha256: str
) -> bool:
    weights = _named_weights(model)
    if weights.keys() != saved.keys():
        return False
    dense = {name: weight.clone() for name, weight in weights.items()}
    for name, linear in _named_linears(model).items():
        write_weight(linear, apply(dense[name], saved[name]))
    if weights_sha256(model) == sha256:
        return True
    for name, linear in _named_linears(model).items():
        write_weight(linear, dense[name])
    return False


def _take_weight(dense_OI: Tensor, saved_OI: Tensor) -> Tensor:
    return saved_OI.to(dense_OI.device)


def _apply_mask(dense_OI: Tensor, packed: Tensor) -> Tensor:
    return dense_OI.masked_fill(_unpack(packed, (dense_OI.shape[0], dense_OI.shape[1])).to(dense_OI.device), 0)


def _unpack(packed: Tensor, shape: tuple[int, int]) -> Tensor:
    bits = np.unpackbits(packed.numpy(), count=shape[0] * shape[1])
    return torch.from_numpy(bits.astype(bool)).view(shape)


def _named_linears(model: "PreTrainedModel") -> dict[str, Any]:
    return {
        f"{index}.{name}": linear
        for index, block in enumerate(find_blocks(model))
        for name, linear in find_linears(block).items()
    }


def _named_weights(model: "PreTrainedModel") -> dict[str, Tensor]:
    return {name: read_weight(linear) for name, linear in _named_linears(model).items()}


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    data = safetensors.torch.save({name: tensor.cpu() for name, tensor in tensors.items()})
    write_whole(path, lambda stream: stream.write(data))


def _read(path: Path) -> dict[str, Tensor] | None:
    try:
        return safetensors.torch.load(path.read_bytes())
    except (FileNotFoundError, SafetensorError):
        return None
