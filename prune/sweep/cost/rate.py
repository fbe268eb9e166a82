"""How fast a machine does a model's work: measured once on a stand-in for one block, and remembered.

The stand-in has the sizes of the model, shrunk where it is large, random weights, and what surrounds the products in a
modern block: norms, rotary embedding, attention, a gate.

Tensors: B sequences, L tokens, T tokens in all, H hidden, I in, V vocabulary.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune.config.config import Device
from prune.config.model import DType
from prune.errors import DamagedFileError
from prune.files import read_checked_json, write_checked_json
from prune.lazy import torch
from prune.sweep.cost.shape import ModelShape

if TYPE_CHECKING:
    from torch import Tensor

BUDGET_S = 0.3
"""Seconds for each of the five measurements; the fastest repetition counts, so that a busy moment does not."""
MOST_WEIGHTS = 2**23
"""Weights of the stand-in's largest linear, and of its head: wider ones reach no other rate."""
SEQ_LEN = 256
MAX_TOKENS = {"cpu": 1024, "cuda": 8192}
THIN_ROWS = 16


@dataclass(frozen=True, slots=True)
class Rate:
    """What a machine does in a second."""

    where: str
    """`cpu of HOST, 2 threads, float32`."""
    flops: float
    """Of blocks, over many tokens at once."""
    head_flops: float
    """Of logits and their losses."""
    solve_flops: float
    """Of products of a linear's inputs in float32: Hessians and what is solved with them."""
    weights: float
    """Weights that a mask is chosen for."""
    thin_flops: float
    """Of blocks over a few tokens at once, as when text is written."""


def stated_rate(tflops: float) -> Rate:
    """The rate of another machine, by its products alone; text is written at a fiftieth of it, as memory limits that."""
    flops = tflops * 1e12
    return Rate(f"{tflops:g} TFLOP/s as launcher.tflops says", flops, flops, flops / 4, flops / 1e4, flops / 50)


def find_rate(output_dir: Path, shape: ModelShape, dtype: DType, device: Device) -> Rate:
    """The rate of this machine for such a model: from `output_dir`, or measured and kept there."""
    place = _place(device)
    path = output_dir / "rates.json"
    where = f"{place} of {platform.node() or 'this machine'}, {torch.get_num_threads()} threads, {dtype.value}"
    key = f"{where}, blocks of {shape.linears}, {shape.vocab} x {shape.hidden}"
    kept = _read(path)
    if key not in kept:
        kept[key] = asdict(measure_rate(shape, getattr(torch, dtype.value), place, where))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_checked_json(path, kept)
    return Rate(**kept[key])


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = read_checked_json(path) or {}
    except DamagedFileError:
        return {}
    return {key: value for key, value in kept.items() if isinstance(value, dict)}


def _place(device: Device) -> str:
    return "cuda" if device is not Device.cpu and torch.cuda.is_available() else "cpu"


@cache
def measure_rate(shape: ModelShape, dtype: torch.dtype, place: str, where: str) -> Rate:
    """The rate of `place` (cpu or cuda) for blocks of a shape, in about two seconds; once a process."""
    small = shrunk(shape)
    block, head = StandIn(small, dtype, place), _Head(small, dtype, place)
    num = max(SEQ_LEN, MAX_TOKENS[place] // SEQ_LEN * SEQ_LEN)
    width = max(inputs for _, inputs in small.linears)
    x_TI = torch.randn(num, width, device=place)
    score = torch.rand(small.linears[0], device=place)
    with torch.inference_mode():
        times = [
            _fastest(lambda: block.run(num // SEQ_LEN, SEQ_LEN), place),
            _fastest(lambda: head.run(SEQ_LEN), place),
            _fastest(lambda: x_TI.T @ x_TI, place),
            _fastest(lambda: score.sort(dim=1, stable=True), place),
            _fastest(lambda: block.run(THIN_ROWS, 1), place),
        ]
    work = [
        *(small.block_flops(num, SEQ_LEN), small.head_flops(SEQ_LEN), 2 * num * width**2, score.numel()),
        small.block_flops(THIN_ROWS, 1),
    ]
    return Rate(where, *(each / seconds for each, seconds in zip(work, times, strict=True)))


def shrunk(shape: ModelShape) -> ModelShape:
    """The same proportions with linears of at most MOST_WEIGHTS weights."""
    largest = max(outputs * inputs for outputs, inputs in shape.linears)
    factor = min(1.0, (MOST_WEIGHTS / largest) ** 0.5)
    head = max(2, int(factor * shape.attention) // shape.heads // 2 * 2)

    def less(size: int) -> int:
        return max(2, int(factor * size) // 2 * 2)

    linears = tuple((less(outputs), less(inputs)) for outputs, inputs in shape.linears)
    hidden = less(shape.hidden)
    return ModelShape(1, linears, hidden, min(shape.vocab, max(2, MOST_WEIGHTS // hidden)), head * shape.heads, shape.heads)


class StandIn:
    """A block with random weights."""

    def __init__(self, shape: ModelShape, dtype: torch.dtype, place: str) -> None:
        self._shape, self._dtype, self._place = shape, dtype, place
        self._weights = [torch.randn(size, dtype=dtype, device=place).mul_(0.01) for size in shape.linears]

    def run(self, num_rows: int, seq_len: int) -> None:
        """Pass `num_rows` sequences through once."""
        shape = self._shape
        inputs = {size: self._ones(num_rows, seq_len, size) for size in {size for _, size in shape.linears}}
        for _ in range(2):
            _norm(self._ones(num_rows, seq_len, shape.hidden))
        for weight_OI in self._weights:
            output = torch.nn.functional.linear(inputs[weight_OI.shape[1]], weight_OI)
        query = self._ones(num_rows, shape.heads, seq_len, shape.attention // shape.heads)
        mixed = torch.nn.functional.scaled_dot_product_attention(_rotate(query), _rotate(query), query, is_causal=True)
        mixed.transpose(1, 2).reshape(num_rows, seq_len, -1)
        torch.nn.functional.silu(output).mul_(output)

    def _ones(self, *size: int) -> Tensor:
        return torch.ones(size, dtype=self._dtype, device=self._place)


class _Head:
    """The logits of tokens and their losses in float32."""

    def __init__(self, shape: ModelShape, dtype: torch.dtype, place: str) -> None:
        self._weight_VH = torch.randn(shape.vocab, shape.hidden, dtype=dtype, device=place).mul_(0.01)

    def run(self, num_tokens: int) -> None:
        """Score `num_tokens` tokens once."""
        hidden_TH = self._weight_VH.new_ones(num_tokens, self._weight_VH.shape[1])
        targets_T = torch.zeros(num_tokens, dtype=torch.int64, device=hidden_TH.device)
        torch.nn.functional.cross_entropy((hidden_TH @ self._weight_VH.T).float(), targets_T, reduction="none")


def _norm(hidden_BLH: Tensor) -> Tensor:
    wide = hidden_BLH.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(hidden_BLH.dtype)


def _rotate(query: Tensor) -> Tensor:
    first, second = query.chunk(2, dim=-1)
    return query * 0.5 + torch.cat((-second, first), dim=-1) * 0.5


def _fastest(run: Callable[[], Any], place: str) -> float:
    """The seconds of the fastest repetition in about BUDGET_S; on a machine that does other things too, no more than the
    processor was busy with it."""
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < BUDGET_S:
        start, busy = time.perf_counter(), time.process_time()
        run()
        if place == "cuda":
            torch.cuda.synchronize()
        took = time.perf_counter() - start
        times.append(took if place == "cuda" else min(took, time.process_time() - busy))
        if len(times) > 1 and time.perf_counter() - begin > 2 * BUDGET_S:
            break
    return min(times[1:])
