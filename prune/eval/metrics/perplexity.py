"""Token perplexity by the reference protocol of the SparseGPT and Wanda papers.

The texts of the evaluation split are joined, tokenised once, and cut into contiguous chunks of L tokens; the tail is
dropped. Perplexity is exp(mean over chunks of the mean cross-entropy over L - 1 predicted tokens). The papers' code takes
what `tokenizer(text)` makes of the whole text, so BOS once where the tokenizer adds it, else nowhere: `eval.bos=tokenizer`.

Tensors: B chunks in a batch, C chunks in all, L tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from prune.config.data import DataConfig
from prune.config.eval import EvalBos, EvalConfig
from prune.data.dataset import TextSet
from prune.data.identity import data_identity
from prune.data.registry import find_dataset, with_perplexity
from prune.data.sources.source import Source, texts
from prune.errors import UserError
from prune.eval.engine.batching import within_memory
from prune.eval.engine.chunks import ChunkSettings, choose_bos, cut_chunks
from prune.eval.engine.losses import chunk_losses
from prune.eval.metric import ItemColumn, Measured, Metric, PlannedMetric, Progress, mean, mean_stderr
from prune.lazy import torch
from prune.models.window import find_window

WEB_NUM_TEXTS = 1100

WEB_NUM_CHUNKS = 256
"""The C4 protocol: the first 256 chunks of the first 1100 documents. Other web text is measured in the same way."""

WHOLE_SPLIT = frozenset({"wikitext2"})
"""Text sets whose whole evaluation split is read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PerplexitySettings(ChunkSettings):
    """All that changes a perplexity, besides the model and the rows."""

    dataset: str
    joiner: str
    num_texts: int | None
    """Documents that are read; None reads all."""


def measure_perplexity(
    settings: PerplexitySettings,
    texts: Sequence[str],
    model: Any,
    tokenizer: Any,
    *,
    batch_size: int,
    on_progress: Callable[[int, int], None],
    logits_chunk: int | None = None,
) -> Measured:
    """The perplexity of `model` on `texts`, with the loss of each chunk as its items.

    Args:
        texts: the documents to read, in order.
        on_progress: called with (chunks done, chunks in all).
        logits_chunk: positions whose logits are held at once; None takes as many as `MAX_LOGITS` allows.

    The standard error is that of the mean chunk loss times the perplexity (delta method: d exp(x) = exp(x) dx); chunks count
    as independent, which neighbours in a text are not quite.

    Where the memory does not suffice, it begins again with half the batch size, which the protocol tells.

    JSON has no infinity: a perplexity over the largest float is the largest float, and the protocol says `overflow`.

    Raises:
        UserError: too little text, a chunk longer than the model's window, BOS asked of a tokenizer without one, or a loss
            that is not a number.
    """
    where = f"ppl/{settings.dataset}"
    window = find_window(model)
    if window is not None and settings.seq_len > window:
        raise UserError(f"{where}: eval.seq_len={settings.seq_len} is longer than the model's window of {window} tokens.")
    bos_id = choose_bos(settings.bos, tokenizer, where)
    text = settings.joiner.join(texts)
    ids = tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    chunks_CL = cut_chunks(torch.tensor(ids, dtype=torch.int64), settings, bos_id, where)
    max_logits = None if logits_chunk is None else logits_chunk * model.config.get_text_config().vocab_size

    def attempt(batch_size: int) -> list[float]:
        return chunk_losses(model, chunks_CL, batch_size=batch_size, on_progress=on_progress, max_logits=max_logits)

    losses, batch_size = within_memory(attempt, batch_size, where, "chunk")
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
        "bos": None if bos_id is None else "chunk" if settings.bos is EvalBos.chunk else "text",
        "num_texts": settings.num_texts,
        "max_chunks": settings.max_chunks,
        "joiner": settings.joiner,
        "tail": "dropped",
        "batch_size": batch_size,
        "dtype": _dtype_name(model),
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
        items=ItemColumn(metric=name, keys=["loss"]),
    )
    items = [{"id": index, "loss": loss, "num_tokens": num_tokens} for index, loss in enumerate(losses)]
    return Measured(metric=metric, items=items)


def _dtype_name(model: Any) -> str:
    return str(model.dtype).removeprefix("torch.")


def score_perplexity(
    settings: PerplexitySettings,
    model: Any,
    tokenizer: Any,
    source: Source,
    batch_size: int,
    logits_chunk: int | None,
    on_progress: Progress,
) -> Measured:
    """The perplexity on the rows that `settings` name."""
    dataset = find_dataset(settings.dataset)
    assert isinstance(dataset, TextSet), "the plan checks this"
    documents = texts(source, dataset, settings.split)[: settings.num_texts]
    return measure_perplexity(
        settings,
        documents,
        model,
        tokenizer,
        batch_size=batch_size,
        logits_chunk=logits_chunk,
        on_progress=on_progress,
    )


def plan_perplexity(name: str, config: EvalConfig, data: DataConfig) -> PlannedMetric:
    """The perplexity that a configuration asks for on one set."""
    dataset = find_dataset(name)
    if not isinstance(dataset, TextSet):
        raise UserError(f"{name} is not a set of texts. {with_perplexity()}")
    if dataset.eval_split is None:
        raise UserError(f"{name} has no held-out text. {with_perplexity()}")
    whole = name in WHOLE_SPLIT
    settings = PerplexitySettings(
        dataset=name,
        split=dataset.eval_split,
        joiner=dataset.joiner,
        num_texts=None if whole else WEB_NUM_TEXTS,
        seq_len=config.seq_len,
        bos=config.bos,
        num_chunks=config.num_chunks,
        max_chunks=None if whole else WEB_NUM_CHUNKS,
    )
    return PlannedMetric(f"ppl/{name}", settings, data_identity(dataset, [dataset.eval_split], data))
