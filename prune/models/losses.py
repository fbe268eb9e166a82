"""Next-token losses, a slice of the logits at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prune.lazy import torch
from prune.models.ragged import over_sequences

if TYPE_CHECKING:
    from torch import Tensor


MAX_LOGITS = 2**26
"""Logits that are held at once: 256 MiB in float32."""


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


def sequence_losses(
    model: Any, sequences: Sequence[Sequence[int]], on_progress: Callable[[int, int], None] = lambda done, total: None
) -> list[float]:
    """The mean cross-entropy of each sequence in nats, over all its tokens but the first; sequences may differ in length.

    It is infinite where there is no second token. Logits in float32, sums in float64.

    Raises:
        UserError: there is no memory for a single sequence.
    """

    def forward(ids_BL: Tensor, lengths_B: Tensor) -> Tensor:
        num_predicted_B = lengths_B - 1
        real_BL = torch.arange(ids_BL.shape[1] - 1) < num_predicted_B[:, None]
        losses_BL = next_token_losses(model, ids_BL.to(model.device)).double().cpu()
        sums_B = torch.where(real_BL, losses_BL, 0.0).sum(dim=1)
        return sums_B / num_predicted_B

    long = [ids if len(ids) > 1 else () for ids in sequences]
    found = over_sequences(long, forward, on_progress)
    return [float(found.get(place, math.inf)) for place in range(len(sequences))]


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
        flat = torch.nn.functional.cross_entropy(logits_BLV.flatten(0, 1).float(), targets.flatten(), reduction="none")
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
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        sums_B += losses.view(targets.shape).double().sum(dim=1)
        start += logits_BLV.shape[1]
    return sums_B


def _logit_slices(model: Any, batch_BL: Tensor, slice_len: int) -> Iterator[Tensor]:
    """The model's logits, (B, slice, V) for consecutive slices of positions; the decoder runs once.

    For a large vocabulary the head runs on slices: the whole model is called again with a slice of the hidden states in
    place of its decoder's output, so that whatever the architecture does after its head (soft-capping, scaling) is done too.
    A model that does not go through its decoder gives all its logits at once.
    """
    decoder = model.get_decoder() if batch_BL.shape[1] > slice_len else None
    if decoder is None or decoder is model:
        yield model(input_ids=batch_BL, use_cache=False).logits
        return
    out = decoder(input_ids=batch_BL, use_cache=False, return_dict=True)
    for start in range(0, batch_BL.shape[1], slice_len):
        frozen = replace(out, last_hidden_state=out.last_hidden_state[:, start : start + slice_len])
        with _frozen_decoder(decoder, frozen) as calls:
            logits_BLV = model(input_ids=batch_BL[:, start : start + slice_len], use_cache=False).logits
        if not calls:
            yield model(input_ids=batch_BL, use_cache=False).logits
            return
        yield logits_BLV


@contextmanager
def _frozen_decoder(decoder: Any, out: Any) -> Iterator[list[None]]:
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
