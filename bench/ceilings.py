"""What a device can do at most, measured: products of large matrices, and bytes of memory moved; what floors are made of."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from bench.timing import timed

TIMES = 5
"""Of which the quickest counts."""


@dataclass(frozen=True)
class Ceilings:
    """Of one device."""

    product_flops: float
    """Operations a second of products in the model's type."""
    float32_flops: float
    float64_flops: float
    bytes_per_s: float
    """Read and written, by a copy."""

    def described(self) -> dict[str, float]:
        """In units that people read."""
        rates = {key.replace("flops", "tflops"): value / 1e12 for key, value in asdict(self).items() if "flops" in key}
        return {key: round(value, 3) for key, value in rates.items()} | {"gb_per_s": round(self.bytes_per_s / 1e9, 1)}


def measure_ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """Random matrices, as zeros take less power and are quicker."""
    size = 8192 if device.type == "cuda" else 512
    flops = {each: _product_flops(device, each, size) for each in (torch.float32, torch.float64, dtype)}
    return Ceilings(flops[dtype], flops[torch.float32], flops[torch.float64], _bytes_per_s(device))


def _product_flops(device: torch.device, dtype: torch.dtype, size: int) -> float:
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    return 2 * size**3 / _quickest(lambda: torch.mm(left, right, out=out))


def _bytes_per_s(device: torch.device) -> float:
    size = 2**30 if device.type == "cuda" else 2**22
    source = torch.ones(size, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _quickest(lambda: target.copy_(source))


def _quickest(work: Callable[[], object]) -> float:
    work()
    return min(timed(work) for _ in range(TIMES))
