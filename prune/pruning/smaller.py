"""A model with fewer blocks or experts, which plain transformers loads: its configuration describes it.

The smaller model is a second tree of modules with the very same tensors, except those that are sliced: the dense model stays
as it is. A model of the new configuration is built without weights beside it, and every tensor's shape and every setting of
every module must be what that one has: what a configuration cannot describe is refused, and never saved wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from prune.errors import UserError
from prune.lazy import torch
from prune.models.blocks import find_blocks

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

PLACES = frozenset({"layer_idx", "layer_id", "layer_index", "layer_number", "block_idx"})
"""Settings of a module that hold the number of its block, by which a cache finds its keys."""
_NOT_BY_BLOCK = ("architectures", "mlp_only_layers", "eos_token_id", "pad_token_id", "bos_token_id")
"""Lists of a configuration that have no entry for each block, whatever their length."""


def without_blocks(model: PreTrainedModel, dropped: Collection[int], *, in_place: bool = False) -> PreTrainedModel:
    """The model without some blocks; the others are renumbered.

    Args:
        in_place: change `model` itself, which then holds the tensors of the others alone.

    Raises:
        UserError: its configuration cannot say what is left.
    """
    smaller = model if in_place else twin(model)
    blocks = find_blocks(smaller)
    num_blocks = len(blocks)
    kept = [index for index in range(num_blocks) if index not in dropped]
    for index in sorted(dropped, reverse=True):
        del blocks[index]
    _keep_layers(smaller.config.get_text_config(), kept, num_blocks)
    what = f"without blocks {', '.join(map(str, sorted(dropped)))}"
    check_described(smaller, what, PLACES)
    return smaller


def twin(model: PreTrainedModel) -> PreTrainedModel:
    """A second tree of modules, with a configuration of its own and the very same parameters and buffers."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())})


def _keep_layers(config: PretrainedConfig, kept: list[int], num_blocks: int) -> None:
    """Let a configuration describe the kept blocks: their number, and their entries in each list with one per block."""
    settings: Any = config
    for key, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == num_blocks and key not in _NOT_BY_BLOCK:
            setattr(settings, key, [value[index] for index in kept])
    if getattr(settings, "mlp_only_layers", None):
        settings.mlp_only_layers = [place for place, index in enumerate(kept) if index in settings.mlp_only_layers]
    if getattr(settings, "first_k_dense_replace", None):
        settings.first_k_dense_replace = sum(index < settings.first_k_dense_replace for index in kept)
    if getattr(settings, "attention_types", None):
        settings.attention_types = [[[kind], 1] for kind in settings.attention_layers]
    settings.num_hidden_layers = len(kept)


def check_described(smaller: PreTrainedModel, what: str, renewed: Collection[str]) -> None:
    """Make sure that a model built from the configuration of `smaller`, as it is saved, is one like it.

    Args:
        what: the model, in words.
        renewed: names of settings of modules that the new model has right, and that `smaller` takes from it.

    Raises:
        UserError: it is not.
    """
    fresh = _built(smaller, what)
    shapes, expected = ({name: tuple(each.shape) for name, each in some.state_dict().items()} for some in (smaller, fresh))
    if shapes != expected:
        name = min(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name))
        raise _undescribed(smaller, what, f"{name} would have shape {expected.get(name)}, and has {shapes.get(name)}")
    others = dict(fresh.named_modules())
    for name, module in smaller.named_modules():
        own, right = dict(_settings(module)), dict(_settings(others[name]))
        for key in own.keys() & right.keys():
            if own[key] == right[key]:
                continue
            if key not in renewed:
                raise _undescribed(smaller, what, f"{key} of {name} would be {right[key]}, and is {own[key]}")
            setattr(module, key, right[key])


def _built(smaller: PreTrainedModel, what: str) -> PreTrainedModel:
    """A model without weights, of the configuration as it comes back from a file."""
    try:
        config = type(smaller.config).from_dict(smaller.config.to_dict())
        config._attn_implementation = smaller.config._attn_implementation
        with torch.device("meta"):
            fresh: PreTrainedModel = type(smaller)(config)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise _undescribed(smaller, what, str(error)) from error
    return fresh.eval()


def _undescribed(smaller: PreTrainedModel, what: str, why: str) -> UserError:
    return UserError(
        f"{type(smaller).__name__} {what} cannot be described by its configuration ({why}), so transformers would load "
        "another model. Keep the blocks that differ where they lie at the ends (sparsity.keep_first, sparsity.keep_last), "
        "give another model, or prune single weights (sparsity=unstructured)."
    )


def _settings(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Names and values of the settings that a module holds beside its tensors: single numbers, switches and words."""
    for key, value in vars(module).items():
        if not key.startswith("_") and key != "training" and _is_plain(value):
            yield key, value


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def signature(block: nn.Module) -> tuple[Any, ...]:
    """Equal for blocks that differ in their numbers and the values of their weights alone."""
    modules = [
        (name, type(module).__name__, tuple((key, str(value)) for key, value in _settings(module) if key not in PLACES))
        for name, module in block.named_modules()
    ]
    return (*modules, *((name, tuple(each.shape)) for name, each in block.state_dict().items()))


class Droppable:
    """Whether a model can be without a set of blocks: asked once for each pattern of unlike blocks that would be left."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._signatures = [signature(block) for block in find_blocks(model)]
        self._known: dict[tuple[tuple[Any, ...], ...], bool] = {}

    def __call__(self, dropped: Collection[int]) -> bool:
        """Whether the configuration can describe what is left."""
        left = tuple(each for index, each in enumerate(self._signatures) if index not in dropped)
        if left not in self._known:
            try:
                without_blocks(self._model, dropped)
                self._known[left] = True
            except UserError:
                self._known[left] = False
        return self._known[left]
