"""Held-out text cut into chunks of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune.config.eval import Bos
from prune.errors import UserError
from prune.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkSettings:
    """How a text is cut into chunks."""

    split: str
    seq_len: int
    bos: Bos
    num_chunks: int | None
    """Chunks that were asked for; None takes all, `max_chunks` at most."""
    max_chunks: int | None
    """Chunks after which the protocol stops in any case; None never stops."""


def cut_chunks(ids_T: Tensor, settings: ChunkSettings, bos_id: int | None, where: str) -> Tensor:
    """The chunks of a tokenised text, shape (C, L), int64; the tail is dropped.

    With BOS in every chunk, a chunk is BOS and L - 1 tokens of text; with BOS once, the first chunk begins with it.

    Raises:
        UserError: not enough text for one chunk, or for the chunks asked.
    """
    seq_len, each_chunk = settings.seq_len, settings.bos is Bos.chunk
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
