"""How much memory this process may still take."""

import ctypes
import functools
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from prune.lazy import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3), from glibc's malloc.h."""

LARGEST_KEPT = 2**25
"""Bytes of the largest block that glibc can be told to keep; larger ones go back to the system at once."""


SHORTAGES = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""The words of libraries that raise something other than MemoryError for lack of memory."""

FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Controller as /proc/self/cgroup names it (none in version 2) -> the limit, the use, and what of it is but cache."""


def available_memory(own_groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that can be had without swapping, within the limits of the control groups of a container or a Slurm job."""
    import psutil  # the engine runs where there is none

    return min([int(psutil.virtual_memory().available), *_left_in_groups(own_groups, root)])


def room_on(device: "torch.device") -> int:
    """Bytes that this process may still take on a device, on the host for the CPU."""
    if device.type != "cuda":
        return available_memory()
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _left_in_groups(own_groups: Path, root: Path) -> Iterator[int]:
    """What each group that limits this process has left; where there are no such groups, nothing."""
    for line in own_groups.read_text().splitlines() if own_groups.exists() else ():
        _, controllers, path = line.split(":", 2)
        for controller in FILES.keys() & set(controllers.split(",")):
            group = root / controller / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(root) and (left := _left(folder, *FILES[controller])) is not None:
                    yield left


def _left(folder: Path, limit_file: str, use_file: str, cache_key: str) -> int | None:
    """The limit of a group less its use, where there is one; cache counts as free."""
    try:
        limit, use = (folder / limit_file).read_text().strip(), int((folder / use_file).read_text())
        cache = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines()).get(cache_key, "0")
    except OSError:
        return None
    return None if limit == "max" else max(int(limit) - use + int(cache), 0)


@functools.cache
def keep_freed_memory() -> bool:
    """Let freed blocks of up to 32 MiB be used again as they are; returns whether that could be set (Linux with glibc).

    A model's activations are allocated and freed in every layer. By default glibc gives free memory beyond 64 MiB back to
    the system and gets it again as empty pages, one fault for 4 KiB, which can cost as much as the arithmetic of a small
    batch. This way the process keeps what it once needed: its peak stays as it was, and it no longer shrinks in between.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that there is too little memory, on the host or on a GPU."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words.lower() in said for words in SHORTAGES)
    )
