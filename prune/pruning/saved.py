"""A pruned model on disk: to use it elsewhere, and so that a later score needs no second pruning.

save=mask keeps one bit per weight, which is enough where a method only removes (wanda, ria, magnitude, random); save=model
keeps a folder that transformers loads. Either is used again only if it gives the very weights that were scored before, by
hash.
"""

import copy
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from prune.config.config import SAVED, Save
from prune.errors import UserError
from prune.files import write_folder, write_whole
from prune.models.blocks import held_by, named_linears, read_weight, weights_sha256, write_weight
from prune.models.experts import ExpertMatrix
from prune.models.fit import parts_of
from prune.models.load import no_load_report, no_progress_bar
from prune.pruning.method import masked
from prune.pruning.whole import keep_left_out

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.models.blocks import Linear
    from prune.models.load import LoadedModel

MASK_FILE = SAVED[Save.mask]
"""Name (`<block>.<linear>`) -> the bits of its mask, row by row, of each pruned linear."""
MODEL_FOLDER = SAVED[Save.model]

Weights: TypeAlias = Mapping[str, Callable[[], Tensor]]
"""Name (`<block>.<linear>`) -> its weight O x I, made when asked for."""


class MaskKeeper:
    """Collects the masks of a walk, packed to one bit per weight."""

    def __init__(self) -> None:
        self.packed: dict[str, Tensor] = {}
        self.shapes: dict[str, tuple[int, int]] = {}

    def __call__(self, block: int, name: str, mask_OI: Tensor) -> None:
        """Keep the mask of one linear."""
        bits = np.packbits(mask_OI.cpu().numpy().reshape(-1))
        self.packed[f"{block}.{name}"] = torch.from_numpy(bits)
        self.shapes[f"{block}.{name}"] = (mask_OI.shape[0], mask_OI.shape[1])


@dataclass(frozen=True, slots=True)
class SavedMask:
    """The masks of a file."""

    packed: Mapping[str, Tensor]
    """Name -> bits."""
    shapes: Mapping[str, tuple[int, int]] | None
    """Name -> O x I; None in a file that does not say."""
    about: Mapping[str, str]
    """The cell that made them, as given to `save_mask`."""

    def mask(self, name: str, shape: tuple[int, int]) -> Tensor:
        """Bool O x I, True = removed."""
        bits = np.unpackbits(self.packed[name].numpy(), count=shape[0] * shape[1])
        return torch.from_numpy(bits.astype(bool)).view(shape)


def save_mask(path: Path, masks: MaskKeeper, about: Mapping[str, str]) -> None:
    """Write masks with their shapes and what they are about, whole or not at all.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    data = safetensors.torch.save(
        masks.packed, metadata={"shapes": json.dumps(masks.shapes), "about": json.dumps(dict(about))}
    )
    write_whole(path, lambda stream: stream.write(data))


def load_mask(path: Path) -> SavedMask | None:
    """The masks of a file; None when it is not there or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            packed = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        shapes = {
            name: (int(rows), int(columns)) for name, (rows, columns) in json.loads(metadata.get("shapes", "{}")).items()
        }
        about = {str(key): str(value) for key, value in json.loads(metadata.get("about", "{}")).items()}
    except (OSError, SafetensorError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return SavedMask(packed, shapes or None, about)


def save_model(folder: Path, loaded: "LoadedModel", card: str) -> None:
    """Write a folder that from_pretrained loads: configuration, weights, tokenizer and card; whole or not at all.

    Tensors of the model's files that are not part of its language model lie there too, unchanged; the card says so.

    Raises:
        UserError: the disk is full or cannot be written, or transformers cannot save this model.
    """

    def fill(temporary: Path) -> None:
        with no_progress_bar():
            _serializable(loaded.model).save_pretrained(temporary)
        others = keep_left_out(temporary, loaded)
        loaded.tokenizer.save_pretrained(temporary)
        more = f"\nThis folder is {others}: {', '.join(parts_of(loaded.left_out))}.\n" if others else ""
        (temporary / "README.md").write_text(card + more)

    try:
        write_folder(folder, fill)
    except UserError:
        raise
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder} could not be written: {error}. save=mask takes less space, and any model.") from error


def check_space(folder: Path, model: "PreTrainedModel", save: Save) -> None:
    """Check that the disk has room for what `save` asks for.

    Raises:
        UserError: it has no room.
    """
    if save is Save.none:
        return
    num_weights = sum(linear.weight.numel() for linear in named_linears(model).values())
    needed = num_weights // 8 if save is Save.mask else _num_bytes(model)
    free = shutil.disk_usage(folder).free
    if free < needed:
        less = "" if save is Save.mask else f" save=mask takes {num_weights / 8e9:.3g} GB."
        raise UserError(
            f"save={save.value} needs {needed / 1e9:.3g} GB in {folder}, and its disk has {free / 1e9:.3g} GB left. "
            f"Free some space, choose another disk with output_dir=FOLDER, or leave save out.{less}"
        )


def _num_bytes(model: "PreTrainedModel") -> int:
    """Bytes of the model's weights, those that are tied counted once."""
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in model.state_dict().values()}.values())


def restore_pruned(folder: Path, model: "PreTrainedModel", sha256: str, source: Save = Save.none) -> bool:
    """Give a dense `model` the saved weights and return True, if they are the ones with this hash; else leave it dense.

    Only those that `source` kept are looked at; of either kind when it is none.
    """
    weights = saved_weights(folder, model, sha256, source)
    linears = named_linears(model)
    for name, weight in (weights or {}).items():
        write_weight(linears[name], weight())
    return weights is not None


def saved_weights(folder: Path, model: "PreTrainedModel", sha256: str, source: Save = Save.none) -> Weights | None:
    """The saved weights, if a dense `model` with them is the one with this hash; one linear at a time is held beside it."""
    ways: dict[Save, Callable[[], Weights | None]] = {
        Save.model: lambda: _weights_of_folder(folder / MODEL_FOLDER, model),
        Save.mask: lambda: _weights_of_mask(folder / MASK_FILE, model),
    }
    found = (read() for kind, read in ways.items() if source in (Save.none, kind))
    return next((weights for weights in found if weights is not None and _gives(model, weights, sha256)), None)


def _gives(model: "PreTrainedModel", weights: Weights, sha256: str) -> bool:
    """Whether the model has this hash with these weights."""
    linears, paths = named_linears(model), _paths(model)
    held: dict[str, list[str]] = {}
    for name in weights:
        held.setdefault(paths[name], []).append(name)
    replaced = {path: partial(_stored, {linears[name]: weights[name] for name in names}) for path, names in held.items()}
    return weights_sha256(model, replaced) == sha256


def _stored(weights: "Mapping[Linear, Callable[[], Tensor]]") -> Tensor:
    """A tensor of the model with weights O x I in it: that of one linear, or of matrices of a layer's experts."""
    first, weight = next(iter(weights.items()))
    if not isinstance(first, ExpertMatrix):
        weight_OI = weight().to(first.weight.dtype)
        return weight_OI if isinstance(first, nn.Linear) else weight_OI.t()
    held = held_by(first).detach().clone()
    for linear, weight in weights.items():
        assert isinstance(linear, ExpertMatrix), linear
        linear.within(held).copy_(weight())
    return held


def _paths(model: "PreTrainedModel") -> dict[str, str]:
    """Name of a linear -> that of the tensor in the state dict that holds its weight."""
    paths = {id(parameter): path for path, parameter in model.named_parameters(remove_duplicate=False)}
    return {name: paths[id(held_by(linear))] for name, linear in named_linears(model).items()}


def masked_weight(saved: SavedMask, name: str, linear: "Linear") -> Tensor:
    """The dense weight O x I of a linear without what its mask removes, bit for bit as methods do it."""
    dense_OI = read_weight(linear)
    mask_OI = saved.mask(name, (dense_OI.shape[0], dense_OI.shape[1]))
    return masked(dense_OI, mask_OI.to(dense_OI.device)).weight_OI


def _weights_of_mask(path: Path, model: "PreTrainedModel") -> Weights | None:
    saved, linears = load_mask(path), named_linears(model)
    if saved is None or not saved.packed.keys() <= linears.keys():
        return None
    if any(bits.numel() != -(-linears[name].weight.numel() // 8) for name, bits in saved.packed.items()):
        return None
    return {name: partial(masked_weight, saved, name, linears[name]) for name in saved.packed}


def _weights_of_folder(folder: Path, model: "PreTrainedModel") -> Weights | None:
    """The weight of every linear from the folder's files; None when one is missing, damaged or of another shape."""
    linears = named_linears(model)
    if any(isinstance(linear, ExpertMatrix) for linear in linears.values()):
        return _weights_of_loaded(folder, model)
    keys = {path: name for name, path in _paths(model).items()}
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                found |= {keys[key]: file.get_tensor(key) for key in file.keys() if key in keys}  # noqa: SIM118
        except (OSError, SafetensorError):
            return None
    if found.keys() != linears.keys() or any(found[name].shape != linears[name].weight.shape for name in found):
        return None
    return {name: partial(_as_outputs_by_inputs, linears[name], stored) for name, stored in found.items()}


def _weights_of_loaded(folder: Path, model: "PreTrainedModel") -> Weights | None:
    """As `_weights_of_folder` where files have a matrix for each expert: transformers puts them together."""
    try:
        with no_progress_bar(), no_load_report():
            found: Any = type(model).from_pretrained(folder, dtype=model.dtype, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError):
        return None
    loaded, loading = found
    if loading["missing_keys"] or loading["mismatched_keys"]:
        return None
    linears, expected = named_linears(loaded), named_linears(model)
    if linears.keys() != expected.keys() or any(
        linears[name].weight.shape != linear.weight.shape for name, linear in expected.items()
    ):
        return None
    return {name: partial(read_weight, linear) for name, linear in linears.items()}


def _as_outputs_by_inputs(linear: "Linear", stored: Tensor) -> Tensor:
    return stored if isinstance(linear, nn.Linear) else stored.t()


def _serializable(model: "PreTrainedModel") -> "PreTrainedModel":
    """The model, or the same weights in a fresh one: a model that was de-quantised on loading refuses to be saved."""
    if getattr(model, "hf_quantizer", None) is None:
        return model
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        fresh: PreTrainedModel = type(model)(config)
    fresh.load_state_dict(model.state_dict(), assign=True)
    fresh.tie_weights()
    return fresh
