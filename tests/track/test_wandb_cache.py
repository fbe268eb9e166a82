"""A home that cannot be written costs neither a run nor the screen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prune.track.wandb_cache import VARIABLE, lead_cache

from ..conftest import HANGS_S


def cache_after(monkeypatch: pytest.MonkeyPatch, folder: Path, **environment: str) -> str | None:
    for name in ("XDG_CACHE_HOME", VARIABLE):
        monkeypatch.setenv(name, "")  # so that what is set below is undone at the end
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    lead_cache(folder)
    return os.environ.get(VARIABLE)


def test_the_cache_is_led_elsewhere_only_where_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    home, mine = str(tmp_path / "file/home"), tmp_path / "mine"
    assert cache_after(monkeypatch, mine, HOME=home) == str(mine)
    assert cache_after(monkeypatch, mine, HOME=home, XDG_CACHE_HOME=str(tmp_path / "new/cache")) is None
    assert cache_after(monkeypatch, mine, HOME=home, WANDB_CACHE_DIR="/theirs") == "/theirs"
    assert cache_after(monkeypatch, mine, HOME=str(tmp_path / "new")) is None


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc: a folder that seems to be writable and is not")
def test_a_home_that_only_seems_to_be_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere by the folders' rights, and the file system refuses."""
    assert cache_after(monkeypatch, tmp_path, HOME="/proc") == str(tmp_path)


def test_a_line_without_a_home_prints_nothing_of_the_service(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = [sys.executable, "-m", "prune.main", "method=dense", "eval.tasks=[]", "eval.perplexity=[]"]
    environment = os.environ | {"HOME": str(tmp_path / "file"), "XDG_CACHE_HOME": str(tmp_path / "file/cache")}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "INFO" not in done.stdout and len(list(tmp_path.glob("outputs/wandb/offline-run-*"))) == 1
    assert list(tmp_path.glob("outputs/wandb/cache/wandb/logs/*"))
