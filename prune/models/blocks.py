"""The decoder blocks of a model and the linears in them: found, read, written, counted, hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from prune.errors import UserError
from prune.lazy import torch
from prune.models.experts import ExpertMatrix, held_parameters, is_fused, is_router, matrices_of, num_experts

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel
    from transformers.pytorch_utils import Conv1D

    Linear: TypeAlias = nn.Linear | Conv1D | ExpertMatrix
    """A prunable matrix; Conv1D (GPT-2) stores it transposed, I x O."""


def find_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """Return the decoder blocks in order: the outermost ModuleList with as many entries as the text model has layers.

    Of a model with other parts, such as a vision tower, only its text decoder is looked into.

    Where the configuration names no number of layers, it is the outermost ModuleList whose entries all hold a linear.

    Raises UserError for encoder-decoder models, for modules that are not a PreTrainedModel (naming what they lack), when
    there is no such list, or when two are equally far out.
    """
    _check_pretrained(model)
    if model.config.is_encoder_decoder:
        raise UserError(f"{type(model).__name__} is an encoder-decoder model; only causal (decoder) models can be pruned.")
    num_blocks = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    found = [
        (name.count("."), name, module)
        for name, module in _text_decoder(model).named_modules()
        if isinstance(module, torch.nn.ModuleList)
        and (_hold_linears(module) if num_blocks is None else len(module) == num_blocks)
    ]
    depth = min((item[0] for item in found), default=0)
    outermost = [(name, module) for item_depth, name, module in found if item_depth == depth]
    what = "blocks with linear layers" if num_blocks is None else f"{num_blocks} blocks"
    if not outermost:
        raise UserError(f"{type(model).__name__} has no list of {what} (nn.ModuleList), so it cannot be pruned.")
    if len(outermost) > 1:
        names = ", ".join(name for name, _ in outermost)
        raise UserError(f"{type(model).__name__} has several lists of {what} ({names}); which are its blocks?")
    return outermost[0][1]


def _check_pretrained(model: nn.Module) -> None:
    """Make sure that the model offers what the walk needs."""
    lacking = [name for name in ("config", "base_model", "get_input_embeddings", "device") if not hasattr(model, name)]
    if lacking:
        raise UserError(
            f"{type(model).__name__} lacks {', '.join(lacking)}: a model to prune is a PreTrainedModel of transformers, or "
            "offers these as one does."
        )


def _text_decoder(model: PreTrainedModel) -> nn.Module:
    """The part of the model that holds the blocks, as its configuration says that there are others; else all of it."""
    decoder: nn.Module | None = model.get_decoder() if model.config.get_text_config() is not model.config else None
    return model if decoder is None else decoder


def _hold_linears(blocks: nn.ModuleList) -> bool:
    return len(blocks) > 0 and all(any(map(_is_linear, block.modules())) for block in blocks)


def _is_linear(module: nn.Module) -> TypeGuard[nn.Linear | Conv1D]:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (torch.nn.Linear, Conv1D))


def find_linears(block: nn.Module) -> dict[str, Linear]:
    """Return name inside the block -> prunable matrix, in the order of the module tree, those of fused experts last.

    Routers are left out: no published method prunes them.

    Raises UserError when the block has none, holds other matrices (experts in a tensor of unknown layout, say), or
    quantised weights.
    """
    fused = {name: module for name, module in block.named_modules() if is_fused(module)}
    counts = {num_experts(module) for module in fused.values()}
    linears: dict[str, Linear] = {}
    others: dict[str, nn.Parameter] = {}
    for name, module in block.named_modules():
        if is_router(name, module, counts):
            continue
        if _is_linear(module) and not _is_read_directly(block, name):
            linears[name] = module
        others |= {f"{name}.{key}".lstrip("."): parameter for key, parameter in _other_matrices(module).items()}
    for name, module in fused.items():
        linears |= {f"{name}.{key}": matrix for key, matrix in matrices_of(module).items()}
    if others:
        largest = max(others, key=lambda name: others[name].numel())
        kind = "mixture-of-experts" if "expert" in largest else "other"
        shape = " x ".join(map(str, others[largest].shape))
        raise UserError(
            f"{type(block).__name__} holds {kind} weights in one tensor ({largest}, {shape}) in a layout that is not "
            "known; only linear layers, and experts as most models of transformers hold them, can be pruned."
        )
    if not linears:
        raise UserError(f"{type(block).__name__} holds no linear layer, so there is nothing to prune.")
    for name, linear in linears.items():
        if not linear.weight.is_floating_point() or linear.weight.dtype.itemsize < 2:
            raise UserError(
                f"{name} of {type(block).__name__} is quantised ({linear.weight.dtype}); load it without quantisation."
            )
    return linears


def check_own_weights(blocks: nn.ModuleList) -> None:
    """Make sure that no two blocks share a weight: it would be pruned twice, by the inputs of either.

    Raises:
        UserError: two do.
    """
    seen: dict[int, tuple[int, str]] = {}
    for index, block in enumerate(blocks):
        for name, linear in find_linears(block).items():
            first = seen.setdefault(id(held_by(linear)), (index, name))
            if first[0] != index:
                raise UserError(
                    f"blocks {first[0]} and {index} share one weight ({first[1]}), which would be pruned twice, by the "
                    "inputs of either; only models whose blocks have weights of their own can be pruned."
                )


def unwatched_linears(block: nn.Module) -> dict[str, Linear]:
    """Return name inside the block -> matrix that is never pruned, as nothing calls it; see `_is_read_directly`."""
    return {name: each for name, each in block.named_modules() if _is_linear(each) and _is_read_directly(block, name)}


def _is_read_directly(block: nn.Module, name: str) -> bool:
    """Whether a linear is the `dt_proj` of a Mamba-1 mixer, which multiplies by its weight and never calls it.

    What enters it cannot be watched, so it stays as it is.
    """
    mixer, _, last = name.rpartition(".")
    return last == "dt_proj" and hasattr(block.get_submodule(mixer), "A_log")


def _other_matrices(module: nn.Module) -> dict[str, nn.Parameter]:
    """The matrices of a module that are neither a linear's weight nor fused experts: they would be skipped silently.

    Kernels of convolutions are left alone on purpose, and A_log, the states of a Mamba mixer, is not a weight matrix. A
    vector may have further dimensions of size 1.
    """
    if isinstance(module, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)):
        return {}
    known = {"A_log", "weight"} if _is_linear(module) else {"A_log"}
    known |= held_parameters(module) if is_fused(module) else set()
    own = module.named_parameters(recurse=False)
    return {key: each for key, each in own if key not in known and sum(size > 1 for size in each.shape) >= 2}


def named_linears(model: PreTrainedModel) -> dict[str, Linear]:
    """Return `<number of the block>.<name in the block>` -> prunable matrix, block by block."""
    return {
        f"{index}.{name}": linear
        for index, block in enumerate(find_blocks(model))
        for name, linear in find_linears(block).items()
    }


def read_weight(linear: Linear) -> Tensor:
    """Return the weight as O x I; a view, also of the transposed Conv1D and of an expert's matrix."""
    weight = linear.weight.detach()
    return weight if isinstance(linear, torch.nn.Linear | ExpertMatrix) else weight.t()


def write_weight(linear: Linear, weight_OI: Tensor) -> None:
    """Write a weight in place, in the type and layout of the linear. The only place that changes a model."""
    read_weight(linear).copy_(weight_OI)


def held_by(linear: Linear) -> Tensor:
    """Return the tensor that holds the weight: its own, or that of all experts of a layer."""
    return linear.held if isinstance(linear, ExpertMatrix) else linear.weight


def count_sparsity(model: PreTrainedModel) -> tuple[int, int]:
    """Return (weights that are 0, all weights) over the prunable matrices."""
    num_zero = num_weights = 0
    for linear in named_linears(model).values():
        num_weights += linear.weight.numel()
        num_zero += linear.weight.numel() - int(linear.weight.count_nonzero())
    return num_zero, num_weights


def weights_sha256(model: PreTrainedModel, replaced: Mapping[str, Callable[[], Tensor]] | None = None) -> str:
    """Return a hash over name, type, shape and SHA-256 of every entry of the state dict, in the order of the names.

    Entries are hashed by as many threads as there are cores, and what is tied once. `replaced` gives other weights for some
    of the names: the hash is that of the model with these.
    """
    entries: dict[str, Callable[[], Tensor]] = {}
    same: dict[str, str] = {}
    first: dict[tuple[int, tuple[int, ...], tuple[int, ...]], str] = {}
    for name, own in sorted(model.state_dict().items()):
        if replaced and name in replaced:
            entries[name] = replaced[name]
        else:
            entries[name] = own.detach
            same[name] = first.setdefault((own.data_ptr(), tuple(own.shape), own.stride()), name)
    distinct = [name for name in entries if same.get(name, name) == name]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = dict(zip(distinct, pool.map(lambda name: _describe_entry(entries[name]()), distinct), strict=True))
    lines = (f"{name} {found[same.get(name, name)]}\n" for name in entries)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _describe_entry(tensor: Tensor) -> str:
    """Type, shape and SHA-256 of the bytes."""
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(content).hexdigest()}"
