"""What is left of the memory, by the machine and by made-up control groups of both versions."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from prune.models.host_memory import available_memory


def make_group(folder: Path, limit: str, use: int, cache: int, names: tuple[str, str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip(names, (limit, str(use), ""), strict=True):
        (folder / name).write_text(f"{text}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cache}\n")


VERSION_2 = "memory.max", "memory.current", "inactive_file"
VERSION_1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"


def test_the_narrowest_group_counts_and_cache_is_free(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/slurm/job_7/step_0\n")
    root = tmp_path / "cgroup"
    make_group(root / "slurm/job_7/step_0", "max", 100, 0, VERSION_2)
    make_group(root / "slurm/job_7", "1000", 700, 50, VERSION_2)
    make_group(root / "slurm", "9000", 800, 50, VERSION_2)
    assert available_memory(tmp_path / "own", root) == 350


def test_groups_of_version_1_in_a_container_that_sees_only_its_own(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("11:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n")
    make_group(tmp_path / "cgroup/memory", "2000", 500, 100, VERSION_1)
    assert available_memory(tmp_path / "own", tmp_path / "cgroup") == 1600


@pytest.mark.parametrize("own", ["", "0::/\n"])
def test_without_limits_it_is_the_machines(tmp_path: Path, own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=77))
    (tmp_path / "own").write_text(own)
    assert available_memory(tmp_path / "own", tmp_path) == 77
    assert available_memory(tmp_path / "missing", tmp_path) == 77
