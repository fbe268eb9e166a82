"""Smaller batches when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

from prune.errors import UserError
from prune.lazy import torch

T = TypeVar("T")


def within_memory(attempt: Callable[[int], T], batch_size: int, where: str, single: str) -> tuple[T, int]:
    """(what `attempt` returns, the batch size that it was given): halved each time memory runs out.

    Args:
        where: the metric, for the error.
        single: what a batch of one is called.

    Raises:
        UserError: not even one fits.
    """
    while True:
        try:
            return attempt(batch_size), batch_size
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        if batch_size == 1:
            raise UserError(f"{where}: there is no memory for a single {single} beside the model.")
        batch_size //= 2
        gc.collect()  # frames of the failed attempt hold its tensors
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a computation ran out of memory, the GPU's or the machine's."""
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in said or "can't allocate memory" in said
