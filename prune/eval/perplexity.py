"""Token perplexity by the reference protocol of the SparseGPT and Wanda papers.

The texts of the evaluation split are joined, tokenised once without special tokens, and cut into contiguous chunks of L
tokens; the tail is dropped. Perplexity is exp(mean over chunks of the mean cross-entropy over L - 1 predicted tokens).

Tensors: B chunks in a batch, C chunks in all, L tokens, H hidden, V vocabulary.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from prune.errors import UserError
from prune.eval.broken import describe_broken
from prune.eval.memory import within_memory
from prune.eval.metric import Measured, Metric, mean, mean_stderr
from prune.eval.protocol import PerplexitySettings
from prune.eval.window import find_window
from prune.eval_config import EvalBos

MAX_LOGITS = 2**26
"""Logits that are held at once: 256 MiB in float32."""


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
        told = describe_broken(model, chunks_CL[broken].tolist())
        raise UserError(f"{where}: the model's loss is not a number (chunk {broken} is the first): {told}")
    protocol = {
        "kind": "token perplexity",
        "dataset": settings.dataset,
        "split": settings.split,
        "seq_len": settings.seq_len,
        "bos": settings.bos.value if bos_id is not None else None,
        "num_texts": settings.num_texts,
        "max_chunks": settings.max_chunks,
        "joiner": settings.joiner,
        "tail": "dropped",
        "batch_size": batch_size,
        "dtype": _dtype_name(model),
    }
    return _summarise(losses, settings.seq_len - 1, protocol)


def choose_bos(bos: EvalBos, tokenizer: Any, where: str) -> int | None:
    """The id of the BOS that the policy puts into the text; None when it puts none.

    A tokenizer without BOS has none to add once, as in the papers' code; BOS in every chunk is then a UserError.
    """
    bos_id: int | None = tokenizer.bos_token_id
    if bos is EvalBos.none:
        return None
    if bos is EvalBos.chunk and bos_id is None:
        raise UserError(f"{where}: eval.bos=chunk, but the tokenizer has no BOS token. Use eval.bos=text or eval.bos=none.")
    return bos_id


def cut_chunks(ids_T: Tensor, settings: PerplexitySettings, bos_id: int | None, where: str) -> Tensor:
    """The chunks of a tokenised text, shape (C, L), int64; the tail is dropped.

    With BOS in every chunk, a chunk is BOS and L - 1 tokens of text; with BOS once, the first chunk begins with it.

    Raises:
        UserError: not enough text for one chunk, or for the chunks asked.
    """
    seq_len, each_chunk = settings.seq_len, settings.bos is EvalBos.chunk
    if bos_id is not None and not each_chunk:
        ids_T = torch.cat([torch.tensor([bos_id]), ids_T])
    num_text = seq_len - 1 if each_chunk else seq_len
    available = len(ids_T) // num_text
    if settings.max_chunks is not None:
        available = min(available, settings.max_chunks)
    if available == 0:
        raise UserError(
            f"{where}: the {settings.split} split has {len(ids_T)} tokens, too few for one chunk of eval.seq_len={seq_len}. "
            "Lower eval.seq_len or give it more text."
        )
    if settings.num_chunks is not None and settings.num_chunks > available:
        raise UserError(
            f"{where}: eval.num_chunks={settings.num_chunks}, but the protocol and the text give {available} chunks of "
            f"{seq_len} tokens. Ask for at most {available}, or leave it null to take all."
        )
    num_chunks = settings.num_chunks or available
    chunks_CL = ids_T[: num_chunks * num_text].view(num_chunks, num_text)
    if bos_id is not None and each_chunk:
        chunks_CL = torch.cat([torch.full((num_chunks, 1), bos_id), chunks_CL], dim=1)
    return chunks_CL


def chunk_losses(
    model: Any, chunks_CL: Tensor, *, batch_size: int, on_progress: Callable[[int, int], None], max_logits: int | None = None
) -> list[float]:
    """The mean cross-entropy of each chunk in nats, over its L - 1 predicted tokens; logits in float32, sums in float64."""
    num_chunks, seq_len = chunks_CL.shape
    max_logits = MAX_LOGITS if max_logits is None else max_logits
    vocab_size = model.config.get_text_config().vocab_size
    batch_size = max(1, min(batch_size, max_logits // (seq_len * vocab_size)))
    losses: list[float] = []
    with torch.inference_mode():
        for batch_BL in torch.split(chunks_CL, batch_size):
            sums = _loss_sums(model, batch_BL.to(model.device), max(1, max_logits // (len(batch_BL) * vocab_size)))
            losses += (sums / (seq_len - 1)).tolist()
            on_progress(len(losses), num_chunks)
    return losses


def next_token_losses(model: Any, ids_BL: Tensor) -> Tensor:
    """The cross-entropy of each token after the first, shape (B, L - 1), float32; the last token is no input.

    As many positions have logits at once as `MAX_LOGITS` allows.
    """
    inputs_BL, targets_BL = ids_BL[:, :-1], ids_BL[:, 1:]
    slice_len = max(1, MAX_LOGITS // (len(ids_BL) * model.config.get_text_config().vocab_size))
    losses: list[Tensor] = []
    start = 0
    for logits_BLV in _logit_slices(model, inputs_BL, slice_len):
        targets = targets_BL[:, start : start + logits_BLV.shape[1]]
        flat = F.cross_entropy(logits_BLV.flatten(0, 1).float(), targets.flatten(), reduction="none")
        losses.append(flat.view(targets.shape))
        start += logits_BLV.shape[1]
    return torch.cat(losses, dim=1)


def _loss_sums(model: Any, batch_BL: Tensor, slice_len: int) -> Tensor:
    """The summed cross-entropy of each chunk, shape (B,), float64; at most `slice_len` positions have logits at once."""
    targets_BL = batch_BL[:, 1:]
    sums_B = torch.zeros(len(batch_BL), dtype=torch.float64, device=batch_BL.device)
    start = 0
    for logits_BLV in _logit_slices(model, batch_BL, slice_len):
        targets = targets_BL[:, start : start + logits_BLV.shape[1]]
        logits = logits_BLV[:, : targets.shape[1]].float()
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        sums_B += losses.view(targets.shape).double().sum(dim=1)
        start += logits_BLV.shape[1]
    return sums_B


def _logit_slices(model: Any, batch_BL: Tensor, slice_len: int) -> Iterator[Tensor]:
    """The model's logits, (B, slice, V) for consecutive slices of positions; the decoder runs once.

    For a large vocabulary the head runs on slices: the whole model is called again with its decoder standing still at a
    slice of the hidden states, so that whatever the architecture does after its head (soft-capping, scaling) is done too.
    A model that does not go through its decoder gives all its logits at once.
    """
    decoder = model.get_decoder() if batch_BL.shape[1] > slice_len else None
    if decoder is None or decoder is model:
        yield model(input_ids=batch_BL, use_cache=False).logits
        return
    out = decoder(input_ids=batch_BL, use_cache=False, return_dict=True)
    for start in range(0, batch_BL.shape[1], slice_len):
        frozen = replace(out, last_hidden_state=out.last_hidden_state[:, start : start + slice_len])
        with _standing_still(decoder, frozen) as calls:
            logits_BLV = model(input_ids=batch_BL[:, start : start + slice_len], use_cache=False).logits
        if not calls:
            yield model(input_ids=batch_BL, use_cache=False).logits
            return
        yield logits_BLV


@contextmanager
def _standing_still(decoder: Any, out: Any) -> Iterator[list[None]]:
    """Inside, calling `decoder` returns `out`; the list that comes back grows with each call."""
    calls: list[None] = []
    own = vars(decoder).get("forward")

    def forward(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        return out

    decoder.forward = forward
    try:
        yield calls
    finally:
        if own is None:
            del decoder.forward
        else:
            decoder.forward = own


def _summarise(losses: list[float], num_tokens: int, protocol: dict[str, Any]) -> Measured:
    """The metric and the items of the chunk losses."""
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
        value=value, stderr=stderr, num_items=len(losses), higher_is_better=False, chance=None, protocol=protocol
    )
    items = [{"id": index, "loss": loss, "num_tokens": num_tokens} for index, loss in enumerate(losses)]
    return Measured(metric=metric, items=items)


def _dtype_name(model: Any) -> str:
    return str(model.dtype).removeprefix("torch.")
