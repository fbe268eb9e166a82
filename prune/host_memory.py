"""How much memory this process may still take."""

from collections.abc import Iterator
from pathlib import Path

import psutil

FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Controller as /proc/self/cgroup names it (none in version 2) -> the limit, the use, and what of it is but cache."""


def available_memory(own_groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that can be had without swapping, within the limits of the control groups of a container or a Slurm job."""
    return min([int(psutil.virtual_memory().available), *_left_in_groups(own_groups, root)])


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
