"""What the cells of one process share: rows, a tokenizer, statistics, and one model that each cell gets as it was loaded."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prune.allocator import keep_freed_memory
from prune.config import DataConfig, Device, ModelConfig
from prune.data.dataset import QuestionSet, Row, TextSet
from prune.data.source import Source, open_source
from prune.dense_passes import DensePasses
from prune.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from prune.models import LoadedModel


class Workshop:
    """Loads each thing when it is first asked for, and keeps the last model only."""

    def __init__(self) -> None:
        self._sources: dict[str, Source] = {}
        self._tokenizers: dict[str, PreTrainedTokenizerBase] = {}
        self._held: tuple[str, DenseCopy] | None = None
        self.dense_passes = DensePasses()

    def source(self, config: DataConfig) -> Source:
        """The source of `config`; each split of it is read once."""
        key = repr(config)
        if key not in self._sources:
            self._sources[key] = ReadOnce(open_source(config))
        return self._sources[key]

    def tokenizer(self, config: ModelConfig) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        from prune.models import load_tokenizer

        key = repr(config)
        if key not in self._tokenizers:
            self._tokenizers[key] = load_tokenizer(config)
        return self._tokenizers[key]

    def dense_model(self, config: ModelConfig, device: str) -> LoadedModel:
        """The model with its dense weights, bit for bit as loaded; pruning it in place is expected.

        With `model.offload` it is loaded each time: the host holds the weights once, and has no room for a dense copy.
        """
        from prune.models import load_model

        if config.offload:
            self._held = None
            gc.collect()
            return load_model(config, device, self.tokenizer(config))
        key = repr((config, device))
        if self._held is None or self._held[0] != key:
            self._held = None
            gc.collect()
            if device == "cpu":
                keep_freed_memory()
            self._held = key, DenseCopy(load_model(config, device, self.tokenizer(config)))
        self._held[1].restore()
        return self._held[1].loaded


class ReadOnce:
    """A source that keeps the splits it has read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._splits: dict[tuple[str, bool, str], Sequence[Row]] = {}

    @property
    def name(self) -> str:
        """The name of the source behind."""
        return self._source.name

    def rows(self, dataset: TextSet | QuestionSet, split: str) -> Sequence[Row]:
        """All rows of a split; see `Source.rows`."""
        has_companion = isinstance(dataset, QuestionSet) and dataset.companion is not None  # its columns are joined then
        key = dataset.name, has_companion, split
        if key not in self._splits:
            self._splits[key] = self._source.rows(dataset, split)
        return self._splits[key]


class DenseCopy:
    """A loaded model and, in host memory, the dense weights of its linears: all that pruning changes."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self._weights: list[tuple[Tensor, Tensor]] = [(weight, weight.cpu().clone()) for weight in _prunable_weights(loaded)]

    def restore(self) -> None:
        """Give the model its dense weights back."""
        import torch

        with torch.no_grad():
            for weight, dense in self._weights:
                weight.copy_(dense)


def _prunable_weights(loaded: LoadedModel) -> list[Tensor]:
    from prune.models import find_blocks, find_linears

    return [linear.weight.data for block in find_blocks(loaded.model) for linear in find_linears(block).values()]


def resolve_device(device: Device) -> str:
    """`cuda` or `cpu`.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    import torch

    if device is Device.cuda and not torch.cuda.is_available():
        raise UserError(
            "device=cuda: PyTorch sees no GPU here. Use device=cpu, or device=auto to take one when there is one."
        )
    return "cuda" if device is not Device.cpu and torch.cuda.is_available() else "cpu"
