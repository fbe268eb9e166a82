"""The device of these tests, and what they share.

They run on `cuda`, and are skipped with one line where there is none. `PRUNE_GPU_DEVICE=cpu` (or the DEVICE=cpu of a script
around them) runs those on the CPU that mean something there, so that they do not rot; the others are skipped by name. `any`,
as in `make test-all`, is the GPU where there is one, else the CPU.
"""

import gc
import os
from collections.abc import Callable, Iterator

import pytest
import torch

from prune.sweep.launchers.local import workers

DEVICE = os.environ.get("PRUNE_GPU_DEVICE") or ("cpu" if os.environ.get("DEVICE") == "cpu" else "cuda")
if DEVICE == "any":
    DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MIB = 2**20
IN_ORDER = ("test_gpu_methods", "test_gpu_walk", "test_gpu_scores", "test_gpu_cells")
"""What the others rest on comes first, as time on a card is short."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These files in their order, behind all others."""
    items.sort(key=lambda item: IN_ORDER.index(item.path.stem) if item.path.stem in IN_ORDER else -1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what there is no device for; from here, so that all are one line of the summary."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU here; PRUNE_GPU_DEVICE=cpu runs on the CPU what means something there")
    if DEVICE == "cpu" and "gpu" in getattr(item, "fixturenames", ()):
        pytest.skip("only a GPU has what this shows")


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where the tests compute."""
    return torch.device(DEVICE)


@pytest.fixture(scope="session")
def gpu(device: torch.device) -> torch.device:
    """The same, for tests of what only a GPU has."""
    return device


@pytest.fixture
def gpus(device: torch.device) -> list[int]:
    """`launcher.gpus` of a worker: the first GPU."""
    return [0] if device.type == "cuda" and workers.all_gpus() else []


@pytest.fixture
def limit_memory(gpu: torch.device) -> Iterator[Callable[[int], None]]:
    """Lets this process take so many MiB more of the card than it holds now; beyond that it is out of memory."""

    def limit(spare_mib: int) -> None:
        free_all()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + spare_mib * MIB) / total)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)
    free_all()


def free_all() -> None:
    """Give back to the card what nobody holds."""
    gc.collect()
    torch.cuda.empty_cache()
