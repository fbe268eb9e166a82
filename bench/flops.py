"""How fast this machine multiplies matrices: what floors are computed with."""

import time

import torch


def measure_flops(dtype: torch.dtype, device: torch.device | str) -> float:
    """Operations a second in a large matrix product, the best of some."""
    left, right = (torch.randn(2048, 2048, dtype=dtype, device=device) for _ in range(2))
    best = 0.0
    for _ in range(6):
        start = time.perf_counter()
        float((left @ right)[0, 0])
        best = max(best, 2 * 2048**3 / (time.perf_counter() - start))
    return best
