"""What the cells of one process share: rows, a tokenizer, statistics, and one model that each cell gets as it was loaded."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from prune.cell.dense_statistics import DensePasses
from prune.config.content import one_look
from prune.config.data import DataConfig
from prune.config.model import ModelConfig
from prune.data.sources.source import ReadOnce, Source, open_source
from prune.files import now
from prune.lazy import torch
from prune.models.blocks import find_blocks, find_linears, held_by
from prune.models.host_memory import keep_freed_memory
from prune.models.identity import model_identity, tokenizer_identity
from prune.models.load import load_model, load_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from prune.models.load import LoadedModel


class Resources:
    """Loads each thing when it is first asked for, and keeps the last model only."""

    def __init__(self, *, makes_sets: bool = True) -> None:
        """Nothing loaded yet.

        Args:
            makes_sets: whether calibration sets that the model makes are made here when they are missing.
        """
        self.makes_sets = makes_sets
        self.began = now()
        self.failed_sets: dict[str, Exception] = {}
        """Why calibration sets could not be made, by their ids."""
        self._sources: dict[str, Source] = {}
        self._tokenizers: dict[str, PreTrainedTokenizerBase] = {}
        self._held: tuple[str, DenseCopy] | None = None
        self.dense_passes = DensePasses()

    def source(self, config: DataConfig) -> Source:
        """The source of `config`; each split of it is read once."""
        key = repr(config)
        if key not in self._sources:
            self._sources[key] = ReadOnce(open_source(config), config.sets)
        return self._sources[key]

    def tokenizer(self, config: ModelConfig) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        with one_look():
            key = repr(tokenizer_identity(config))
        if key not in self._tokenizers:
            self._tokenizers[key] = load_tokenizer(config)
        return self._tokenizers[key]

    def dense_model(self, config: ModelConfig, device: str) -> LoadedModel:
        """The model with its dense weights, bit for bit as loaded; pruning it in place is expected.

        It is loaded again when its files have changed, and not for another name, path or length of sequences.
        With `model.offload` it is loaded each time: the host holds the weights once, and has no room for a dense copy.
        """
        if config.offload:
            self._held = None
            gc.collect()
            return load_model(config, device, self.tokenizer(config))
        with one_look():
            key = repr((model_identity(config), config.device_map, device))
        if self._held is None or self._held[0] != key:
            if self._held is not None:
                self._held = None
                gc.collect()
            if device == "cpu":
                keep_freed_memory()
            self._held = key, DenseCopy(load_model(config, device, self.tokenizer(config)))
        self._held[1].restore()
        return self._held[1].loaded


class DenseCopy:
    """A loaded model and, in host memory, the dense weights of its linears: all that pruning changes."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self._weights: list[tuple[Tensor, Tensor]] = [(weight, weight.cpu().clone()) for weight in _prunable_weights(loaded)]

    def restore(self) -> None:
        """Give the model its dense weights back."""
        with torch.no_grad():
            for weight, dense in self._weights:
                weight.copy_(dense)


def _prunable_weights(loaded: LoadedModel) -> list[Tensor]:
    linears = (linear for block in find_blocks(loaded.model) for linear in find_linears(block).values())
    held = {id(tensor): tensor for tensor in map(held_by, linears)}
    return [tensor.data for tensor in held.values()]
