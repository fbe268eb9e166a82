"""How fast a model reads a prompt and writes an answer, by transformers' own greedy generation, alone on its device.

One generation gives both: the first token is there when the prompt has been read, and the others follow one by one. Tokens
are drawn, as their values do not change the time, and no text ends early.

Shapes: B prompts at once, L tokens.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers
from torch import Tensor

from prune.errors import UserError
from prune.models.blocks import find_blocks
from prune.models.device_lock import device_alone
from prune.models.offload import is_offloaded
from prune.models.semi_structured import linears_2_of_4, semi_structured, why_not
from prune.models.window import find_window

LEAST_SHARE = 0.9
"""Of a processor's time; a program that waits for others has less."""
OF_CONTEXT = 2 * 2**30
"""Bytes of a GPU that CUDA and its libraries may hold for this process beside PyTorch's own."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """What is generated."""

    batch: int
    prompt: int
    new: int


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds of each generation."""

    lengths: Lengths
    prefill_s: list[float]
    """Up to the first token."""
    decode_s: list[float]
    """From the first token to the last."""

    @property
    def prefill(self) -> float:
        """Tokens of prompts that are read in a second."""
        return self.lengths.batch * self.lengths.prompt / median(self.prefill_s)

    @property
    def decode(self) -> float:
        """Tokens that are written in a second, of all answers together."""
        return self.lengths.batch * (self.lengths.new - 1) / median(self.decode_s)


@dataclass(frozen=True, slots=True)
class Speeds:
    """Of one model in one place."""

    plain: Speed
    sparse: Speed | None
    """By semi-structured kernels; None where they were not used."""
    why_not: str | None
    """Why they were not, of a model with 2:4 weights."""
    alone: bool
    """Whether no other cell, nor another program as far as that shows, was at work on the device."""


def measure_speeds(model: Any, lengths: Lengths, times: int, where: str) -> Speeds:
    """Wait until the device is free, and time the model there, `times` generations.

    Raises:
        UserError: the texts do not fit the model's window, or it writes none.
    """
    window = find_window(model)
    if window is not None and lengths.prompt + lengths.new > window:
        raise UserError(
            f"{where}: eval.speed_prompt={lengths.prompt} and eval.speed_new={lengths.new} do not fit the model's window of "
            f"{window} tokens. Ask for shorter ones, as in eval.speed_prompt={max(window // 2, 1)} eval.speed_new=16."
        )
    if not hasattr(model, "generate"):
        raise UserError(f"{where}: {type(model).__name__} writes no text, so that it cannot be timed. Leave eval.speed out.")
    with device_alone(str(model.device)) as is_locked:
        begun = time.perf_counter(), time.process_time()
        plain = time_generation(model, lengths, times)
        sparse, reason = _time_sparse(model, lengths, times)
        wall_s, processor_s = time.perf_counter() - begun[0], time.process_time() - begun[1]
        alone = is_locked and had_device(model.device, wall_s, processor_s)
    return Speeds(plain, sparse, reason, alone)


def had_device(device: torch.device, wall_s: float, processor_s: float) -> bool:
    """Whether other programs left the device to this one, as far as it can be told: of a CPU it had a processor for nearly
    all of the time; of a GPU others hold hardly any memory."""
    if device.type != "cuda":
        return processor_s >= LEAST_SHARE * wall_s
    free, total = torch.cuda.mem_get_info(device)
    return total - free - torch.cuda.memory_reserved(device) < OF_CONTEXT


def _time_sparse(model: Any, lengths: Lengths, times: int) -> tuple[Speed | None, str | None]:
    linears = linears_2_of_4(model)
    if not linears:
        return None, None
    if (reason := why_not(model)) is not None:
        return None, reason
    try:
        with semi_structured(linears):
            return time_generation(model, lengths, times), None
    except (RuntimeError, NotImplementedError) as error:
        return None, (str(error).splitlines() or [type(error).__name__])[0]


def time_generation(model: Any, lengths: Lengths, times: int) -> Speed:
    """The seconds of some generations, after one that is not counted."""
    generator = torch.Generator().manual_seed(0)
    size = model.config.get_text_config().vocab_size
    ids_BL = torch.randint(size, (lengths.batch, lengths.prompt), generator=generator).to(model.device)
    own = model.generation_config
    model.generation_config = transformers.GenerationConfig(pad_token_id=0)  # nothing ends a text, and nothing is drawn
    try:
        seen = [_generate(model, ids_BL, lengths.new) for _ in range(times + 1)][1:]
    finally:
        model.generation_config = own
    return Speed(lengths, [first for first, _ in seen], [rest for _, rest in seen])


def _generate(model: Any, ids_BL: Tensor, num_new: int) -> tuple[float, float]:
    """Seconds up to the first token, and from there to the last."""
    clock = _Clock(model.device)
    asked = {"attention_mask": torch.ones_like(ids_BL), "max_new_tokens": num_new, "do_sample": False}
    start = clock.now()
    model.generate(input_ids=ids_BL, stopping_criteria=[clock], **asked)
    assert len(clock.times) == num_new, f"{len(clock.times)} of {num_new} tokens were written"
    return clock.times[0] - start, clock.times[-1] - clock.times[0]


@dataclass(slots=True)
class _Clock:
    """A stopping criterion that never stops, and notes when each token is there."""

    device: torch.device
    times: list[float] = field(default_factory=list)

    def now(self) -> float:
        """Seconds, once the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def __call__(self, tokens_BL: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.times.append(self.now())
        return torch.zeros(len(tokens_BL), dtype=torch.bool, device=tokens_BL.device)


def describe_place(model: Any) -> dict[str, Any]:
    """What a speed is of, besides the model: the device, its threads on a CPU, and the type of the weights."""
    is_gpu = model.device.type == "cuda"
    return {
        "device_name": torch.cuda.get_device_name(model.device) if is_gpu else cpu_name(),
        "threads": None if is_gpu else torch.get_num_threads(),
        "weights": str(model.dtype).removeprefix("torch."),
        "offload": any(map(is_offloaded, find_blocks(model))),
        "torch": str(torch.__version__),
    }


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor as the system names it."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] else platform.machine()
