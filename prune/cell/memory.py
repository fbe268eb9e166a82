"""The peak memory of a cell, and which settings lower it when there is too little."""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from prune.config.config import Config
from prune.errors import OutOfMemoryError
from prune.models.host_memory import is_shortage

MB = 2**20
PERIOD_S = 0.05
"""Seconds between two samples of this process's memory, where the kernel's own high-water mark cannot be used."""

LOAD_ADVICE = (
    "Stop other processes that hold memory, or use less: model.offload=true keeps one block at a time on the GPU, and "
    "model.dtype=bfloat16 takes half the memory of float32."
)

SLACK_MB = 64.0
"""A high-water mark that was just reset exceeds what the process holds by at most this, or the kernel ignored us."""

PROC = Path("/proc/self")


class PeakMemory:
    """Measures, as a context, the most memory that this process holds inside it; memory freed before does not count."""

    def __init__(self, device: str, proc: Path = PROC) -> None:
        self._device, self._proc = device, proc
        self._has_mark = False
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="memory-samples", daemon=True)
        self._highest_mb = 0.0

    def __enter__(self) -> "PeakMemory":
        self._has_mark = reset_high_water_mark(self._proc)
        if not self._has_mark:
            self._sampler.start()
        for cuda, index in _devices(self._device):
            cuda.reset_peak_memory_stats(index)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._sampler.is_alive():
            self._sampler.join()

    def read(self) -> dict[str, Any]:
        """The peak so far, as in result.json: MB of the host, how that was measured, and of the GPU that held most (0 on
        a CPU)."""
        highest_mb = max((cuda.max_memory_allocated(index) / MB for cuda, index in _devices(self._device)), default=0.0)
        host_mb = _status_mb(self._proc, "VmHWM") if self._has_mark else max(self._highest_mb, _held_mb())
        assert host_mb is not None, "it was read when it was set back"
        by = "VmHWM" if self._has_mark else "sampled"
        return {"host": round(host_mb, 1), "device": round(highest_mb, 1), "host_by": by}

    def _sample(self) -> None:
        while not self._over.is_set():
            self._highest_mb = max(self._highest_mb, _held_mb())
            self._over.wait(PERIOD_S)


def higher_peak(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The higher peak of two runs of a cell, for each place."""
    host = max(one, other, key=lambda peak: peak["host"])
    return {**host, "device": max(one["device"], other["device"])}


def reset_high_water_mark(proc: Path = PROC) -> bool:
    """Set the kernel's mark of this process's most memory back to what it holds; False where that does not work."""
    try:
        (proc / "clear_refs").write_text("5")
        mark, held = _status_mb(proc, "VmHWM"), _status_mb(proc, "VmRSS")
    except OSError:
        return False
    return mark is not None and held is not None and mark <= held + SLACK_MB


def _status_mb(proc: Path, key: str) -> float | None:
    """A line of /proc/self/status, which counts in kB; None when there is none of that name."""
    lines = dict(line.partition(":")[::2] for line in (proc / "status").read_text().splitlines())
    return float(lines[key].split()[0]) / 1024 if key in lines else None


def _held_mb() -> float:
    import psutil

    return float(psutil.Process().memory_info().rss) / MB


def _devices(device: str) -> Iterator[tuple[Any, int]]:
    """torch.cuda with the number of each GPU, when this process uses one."""
    torch: Any = sys.modules.get("torch")
    if device.startswith("cuda") and torch is not None and torch.cuda.is_initialized():
        yield from ((torch.cuda, index) for index in range(torch.cuda.device_count()))


@contextmanager
def memory_errors(doing: str, advice: str) -> Iterator[None]:
    """Turn an error for lack of memory raised inside into a message that says what to lower.

    Raises:
        OutOfMemoryError: there was too little memory.
    """
    try:
        yield
    except Exception as error:
        if not is_shortage(error):
            raise
        words = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
        raise OutOfMemoryError(f"{doing} needs more memory than is available ({words}). {advice}") from error


def prune_advice(config: Config) -> str:
    """What to lower when pruning finds too little memory."""
    offload = "" if config.model.offload else ", or set model.offload=true, which keeps one block at a time on the GPU"
    steps = getattr(config.reconstruct, "batch_size", None)
    refit = f", reconstruct.batch_size ({steps} here)" if steps else ""
    return f"Lower batch_size ({config.batch_size} here){refit} or calib.seq_len{offload}."


def score_advice(config: Config) -> str:
    """What to lower when a score finds too little memory."""
    chunk = config.eval.logits_chunk
    logits = f"eval.logits_chunk ({chunk} here)" if chunk else "set eval.logits_chunk (such as 256)"
    return f"Lower eval.batch_size ({config.eval.batch_size} here), or {'lower ' if chunk else ''}{logits}."
