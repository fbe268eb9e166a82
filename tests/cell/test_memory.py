"""What a cell takes of the machine, not what the process took before; and what to lower when there is too little."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from prune.cell.memory import PeakMemory, higher_peak, memory_errors, prune_advice, reset_high_water_mark, score_advice
from prune.config.data import DataSource
from prune.errors import OutOfMemoryError
from tests.conftest import Compose

SIZE_MB = 300.0


def hold(size_mb: float) -> None:
    """Take so much memory, touch it, and give it back."""
    np.ones(int(size_mb * 2**20), dtype=np.uint8).sum()


def no_mark(tmp_path: Path) -> Path:
    """A /proc/self whose mark cannot be set back."""
    (tmp_path / "clear_refs").mkdir()
    return tmp_path


@pytest.mark.parametrize("sampled", [False, True], ids=["VmHWM", "sampled"])
def test_what_was_held_before_does_not_count_and_what_is_held_inside_does(tmp_path: Path, sampled: bool) -> None:
    if not sampled and not reset_high_water_mark():
        pytest.skip("the kernel's mark cannot be set back here")
    place = (no_mark(tmp_path),) if sampled else ()
    hold(SIZE_MB)
    with PeakMemory("cpu", *place) as little:
        pass
    with PeakMemory("cpu", *place) as much:
        kept = np.ones(int(SIZE_MB * 2**20), dtype=np.uint8)
        peak = much.read()
        del kept
    assert peak["host"] > little.read()["host"] - 20
    with PeakMemory("cpu", *place) as after:
        pass
    assert peak["host"] - after.read()["host"] > 0.8 * SIZE_MB
    assert peak["host_by"] == ("sampled" if sampled else "VmHWM") and peak["device"] == 0.0


@pytest.mark.parametrize(
    "status",
    ["VmRSS:\t  102400 kB\n", "VmHWM:\t 9999999 kB\nVmRSS:\t  102400 kB\n", "Name:\tpython\n"],
    ids=["no mark", "a mark that stays", "neither"],
)
def test_a_kernel_that_ignores_us_is_not_believed(tmp_path: Path, status: str) -> None:
    (tmp_path / "status").write_text(status)
    assert not reset_high_water_mark(tmp_path)
    with PeakMemory("cpu", tmp_path) as memory:
        pass
    assert memory.read()["host_by"] == "sampled" and memory.read()["host"] > 50


def test_the_device_counts_from_the_beginning_of_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {0: 5 * 2**20, 1: 9 * 2**20}
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        reset_peak_memory_stats=lambda index: held.update({index: 2**20}),
        max_memory_allocated=lambda index: held[index],
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    with PeakMemory("cuda") as memory:
        held[1] = 3 * 2**20
        assert memory.read()["device"] == 3.0


def test_of_two_runs_the_higher() -> None:
    one, other = {"host": 1.0, "device": 9.0, "host_by": "sampled"}, {"host": 2.0, "device": 3.0, "host_by": "VmHWM"}
    assert higher_peak(one, other) == higher_peak(other, one) == {"host": 2.0, "device": 9.0, "host_by": "VmHWM"}


def too_much() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


SHORT: dict[str, Callable[[], Any]] = {
    "PyTorch on the host": too_much,
    "a GPU": raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nmore")),
    "cuBLAS": raising(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")),
    "numpy": lambda: np.ones(2**60, dtype=np.uint8),
    "Python": raising(MemoryError()),
}


@pytest.mark.parametrize("fail", SHORT.values(), ids=SHORT)
def test_too_little_memory_is_told_with_what_to_lower(compose_config: Compose, fail: Callable[[], Any]) -> None:
    config = compose_config("batch_size=6", "eval.batch_size=7")
    assert config.data.name is DataSource.sample
    for advice, name in ((prune_advice(config), "batch_size (6"), (score_advice(config), "eval.batch_size (7")):
        with pytest.raises(OutOfMemoryError) as caught, memory_errors("pruning", advice):
            fail()
        assert str(caught.value).startswith("pruning needs more memory than is available (") and name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_other_errors_pass() -> None:
    for error in (RuntimeError("shapes differ"), ValueError("out of memory"), KeyboardInterrupt()):
        with pytest.raises(type(error)), memory_errors("pruning", "Lower it."):
            raise error
