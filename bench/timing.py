"""What benchmarks share: the methods by name, and a stopwatch."""

import time
from collections.abc import Callable
from typing import Any

import torch

from prune.pruning.method import Method
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda

METHODS: dict[str, Method] = {"wanda": Wanda(), "sparsegpt": SparseGPT()}


def timed(work: Callable[[], Any]) -> float:
    """Seconds of some work, to its end on the device."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start
