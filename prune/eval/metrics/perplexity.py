"""Token perplexity by the reference protocol of the SparseGPT and Wanda papers.

The texts of the evaluation split are joined, tokenised once, and cut into contiguous chunks of L tokens; the tail is
dropped. Perplexity is exp(mean over chunks of the mean cross-entropy over L - 1 predicted tokens). The papers' code takes
what `tokenizer(text)` makes of the whole text, so BOS once where the tokenizer adds it, else nowhere: `eval.bos=tokenizer`.

Tensors: B chunks in a batch, C chunks in all, L tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

from prune.config.data import DataConfig
from prune.config.eval import Bos, EvalConfig
from prune.data.dataset import Dataset, TextSet
from prune.data.identity import data_identity
from prune.data.lookup import dataset_of
from prune.data.registry import find_dataset, with_perplexity
from prune.data.sources.source import Source, texts
from prune.errors import UserError
from prune.eval.engine.chunks import ChunkSettings, cut_chunks
from prune.eval.metric import ItemColumn, Measured, Metric, PlannedMetric, mean, mean_stderr
from prune.eval.overlap import Overlap, RunIndex, Seen, Words, count_overlap, split_words, to_text
from prune.eval.subject import Subject
from prune.lazy import torch
from prune.models.batching import within_memory
from prune.models.bos import bos_before_text
from prune.models.losses import chunk_losses
from prune.models.window import find_window

WEB_NUM_TEXTS = 1100

WEB_NUM_CHUNKS = 256
"""The C4 protocol: the first 256 chunks of the first 1100 documents. Other web text is measured in the same way."""

ENORMOUS = 1 << 24
"""Characters from which a text is tokenised only as far as it is measured."""

WHOLE_SPLIT = frozenset({"wikitext2", "lambada"})
"""Text sets whose whole evaluation split is read."""

_CHARS_PER_TOKEN = 8
"""More than there are in most texts; a text with more in a token is tokenised whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PerplexitySettings(ChunkSettings):
    """All that changes a perplexity, besides the model and the rows."""

    kind: ClassVar[str] = "ppl"
    key: ClassVar[str] = "eval.perplexity"
    dataset: str
    joiner: str
    num_texts: int | None
    """Documents that are read; None reads all."""

    @property
    def name(self) -> str:
        """The metric's name."""
        return f"{self.kind}/{self.dataset}"

    @classmethod
    def asked(cls, config: EvalConfig, data: DataConfig) -> Sequence[str]:
        """All that is named; see `Score.asked`."""
        return config.perplexity

    @classmethod
    def plan(cls, name: str, config: EvalConfig, data: DataConfig) -> list[PlannedMetric]:
        """The perplexity on one set; see `Score.plan`."""
        dataset = find_dataset(name, data.sets)
        if not isinstance(dataset, TextSet):
            raise UserError(f"{name} is not a set of texts. {with_perplexity()}")
        if dataset.eval_split is None:
            raise UserError(f"{name} has no held-out text. {with_perplexity()}")
        whole = name in WHOLE_SPLIT
        settings = cls(
            dataset=name,
            split=dataset.eval_split,
            joiner=dataset.joiner,
            num_texts=None if whole else WEB_NUM_TEXTS,
            seq_len=config.seq_len,
            bos=config.bos,
            num_chunks=config.num_chunks,
            max_chunks=None if whole else WEB_NUM_CHUNKS,
        )
        return [PlannedMetric(settings, data_identity(dataset, [dataset.eval_split], data))]

    def reads(self, data: DataConfig) -> list[tuple[TextSet, str]]:
        """The held-out split; see `Score.reads`."""
        return [(text_set(find_dataset(self.dataset, data.sets)), self.split)]

    def check_rows(self, source: Source) -> int:
        """Read the split; see `Score.check_rows`."""
        return len(source.rows(text_set(dataset_of(source, self.dataset)), self.split))

    def measure(self, subject: Subject, source: Source) -> Measured:
        """The perplexity on the rows of the source; see `measure_perplexity`."""
        return measure_perplexity(self, self._texts(source), subject)

    def overlap(self, seen: Seen, source: Source, tokenizer: Any, skipped: Collection[int]) -> Overlap:
        """By the words of each chunk, and the documents that it holds a run of; see `Score.overlap`."""
        chunks, documents = read_chunks(self, self._texts(source), tokenizer)
        row_words = enumerate(split_words(document) for document in documents)
        shared = RunIndex(words for row, words in row_words if seen.has_row(self.dataset, self.split, row, words))
        return count_overlap(chunks, [bool(shared.found_in(words)) for words in chunks], seen)

    def _texts(self, source: Source) -> Sequence[str]:
        return texts(source, text_set(dataset_of(source, self.dataset)), self.split)[: self.num_texts]


SCORE = PerplexitySettings


def text_set(dataset: Dataset) -> TextSet:
    """The dataset, which is one of texts."""
    assert isinstance(dataset, TextSet), "the plan checks this"
    return dataset


def measure_perplexity(settings: PerplexitySettings, texts: Sequence[str], subject: Subject) -> Measured:
    """The perplexity of a model on `texts`, the documents to read in order, with the loss of each chunk as its items.

    The standard error is that of the mean chunk loss times the perplexity (delta method: d exp(x) = exp(x) dx); chunks count
    as independent, which neighbours in a text are not quite.

    When memory runs out, it begins again with half the batch size; the protocol holds the size that fitted.

    JSON has no infinity: a perplexity over the largest float is the largest float, and the protocol says `overflow`.

    Raises:
        UserError: too little text, a chunk longer than the model's window, BOS asked of a tokenizer without one, or a loss
            that is not a number.
    """
    where, model = settings.name, subject.model
    window = find_window(model)
    if window is not None and settings.seq_len > window:
        raise UserError(f"{where}: eval.seq_len={settings.seq_len} is longer than the model's window of {window} tokens.")
    bos_id = bos_before_text(settings.bos, subject.tokenizer, f"{where}: eval.bos")
    ids = _tokenise_needed(settings, texts, subject.tokenizer)
    chunks_CL = cut_chunks(torch.tensor(ids, dtype=torch.int64), settings, bos_id, where)
    size, positions = model.config.get_text_config().vocab_size, subject.logits_chunk
    max_logits = None if positions is None else positions * size

    def attempt(batch_size: int) -> list[float]:
        return chunk_losses(model, chunks_CL, batch_size=batch_size, on_progress=subject.on_progress, max_logits=max_logits)

    losses, batch_size = within_memory(attempt, subject.batch_size, where, "chunk")
    broken = next((index for index, loss in enumerate(losses) if math.isnan(loss)), None)
    if broken is not None:
        from prune.eval.engine.diagnose import describe_broken

        told = describe_broken(model, chunks_CL[broken].tolist())
        raise UserError(f"{where}: the model's loss is not a number (chunk {broken} is the first): {told}")
    protocol = {
        "kind": "token perplexity",
        "dataset": settings.dataset,
        "split": settings.split,
        "seq_len": settings.seq_len,
        "bos": None if bos_id is None else "chunk" if settings.bos is Bos.chunk else "text",
        "num_texts": settings.num_texts,
        "max_chunks": settings.max_chunks,
        "joiner": settings.joiner,
        "tail": "dropped",
        "batch_size": batch_size,
        "dtype": subject.dtype,
    }
    return _summarise(losses, settings.seq_len - 1, protocol, where)


def _summarise(losses: list[float], num_tokens: int, protocol: dict[str, Any], name: str) -> Measured:
    """The metric called `name` and the items of the chunk losses."""
    largest = sys.float_info.max
    losses = [min(loss, largest) for loss in losses]
    try:
        value = math.exp(mean(losses))
        stderr = mean_stderr(losses)
        stderr = None if stderr is None else value * stderr
        if stderr is not None and math.isinf(stderr):
            raise OverflowError
    except OverflowError:
        value, stderr = largest, None
        protocol = {**protocol, "overflow": True}
    metric = Metric(
        value=value,
        stderr=stderr,
        num_items=len(losses),
        higher_is_better=False,
        chance=None,
        protocol=protocol,
        unit="perplexity per token",
        scale="log",
        decimals=2,
        items=ItemColumn(metric=name, keys=["loss"]),
    )
    items = [{"id": index, "loss": loss, "num_tokens": num_tokens} for index, loss in enumerate(losses)]
    return Measured(metric=metric, items=items)


def read_chunks(settings: PerplexitySettings, documents: Sequence[str], tokenizer: Any) -> tuple[list[Words], Sequence[str]]:
    """(words of each chunk that perplexity is measured on, the documents that they can come from).

    A word at a chunk's edge may be cut. Of a long text no more is tokenised than the chunks need.
    """
    bos_id = bos_before_text(settings.bos, tokenizer, f"{settings.name}: eval.bos")
    leading, ids = _tokenise_enough(settings, documents, tokenizer)
    chunks_CL = cut_chunks(torch.tensor(ids, dtype=torch.int64), settings, bos_id, settings.name)
    chunks = [to_text([token for token in chunk if token != bos_id], tokenizer) for chunk in chunks_CL.tolist()]
    return [split_words(chunk) for chunk in chunks], leading


def _tokenise_enough(
    settings: PerplexitySettings, documents: Sequence[str], tokenizer: Any
) -> tuple[Sequence[str], list[int]]:
    """(the first documents, their tokens): a chunk more than is measured, so that the tokens at the end do not matter."""
    needed = _num_needed(settings)
    if _is_enormous(documents):
        return documents, _tokenise_needed(settings, documents, tokenizer)
    ends = accumulate(len(document) for document in documents)
    count = len(documents) if needed is None else 1 + sum(end < needed * _CHARS_PER_TOKEN for end in ends)
    leading = documents[:count]
    ids = _tokenise(settings.joiner.join(leading), tokenizer)
    if needed is not None and len(ids) < needed and count < len(documents):
        return documents, _tokenise(settings.joiner.join(documents), tokenizer)
    return leading, ids


def _tokenise_needed(settings: PerplexitySettings, documents: Sequence[str], tokenizer: Any) -> list[int]:
    """The tokens of the joined documents; of an enormous text a chunk more than is measured, from its first characters.

    Tokens do not depend on text that is a chunk away, and one document of 50 MB would take minutes and gigabytes.
    """
    text, needed = settings.joiner.join(documents), _num_needed(settings)
    num_chars = len(text) if needed is None or not _is_enormous(documents) else needed * _CHARS_PER_TOKEN
    while len(ids := _tokenise(text[:num_chars], tokenizer)) < (needed or 0) and num_chars < len(text):
        num_chars *= 2
    return ids


def _num_needed(settings: PerplexitySettings) -> int | None:
    """The tokens that suffice, one chunk more than is measured; None where all are measured."""
    limits = [limit for limit in (settings.num_chunks, settings.max_chunks) if limit is not None]
    return (min(limits) + 1) * settings.seq_len if limits else None


def _is_enormous(documents: Sequence[str]) -> bool:
    return sum(map(len, documents)) > ENORMOUS


def _tokenise(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"])
