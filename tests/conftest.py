"""What the tests share: composing configurations, running the command line, finding the real rows."""

import gc
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from absl.logging import get_absl_handler
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from prune.config.config import Config
from prune.config.folders import CONFIG_DIR
from prune.main import main
from prune.sweep.compose import to_config
from prune.sweep.schemas import register_schemas
from tests.warm import run_warm

Compose = Callable[..., Config]
RunLine = Callable[..., subprocess.CompletedProcess[str]]

TESTS = Path(__file__).resolve().parent
HANGS_S = 1200.0
"""After so long a line hangs, however busy the machine is."""
SLURM = "slurm"
"""The folder of tests that share one cluster."""
SHARED = Path(os.environ.get("PRUNE_SHARED", TESTS.parents[1] / "shared"))

sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process that a test starts compiles the package anew
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are tiny, and the tests run side by side

# absl, which some of lm-eval's tasks import, closes the stream of its handler when Hydra sets up logging anew, unless it is
# one of the process's own: pytest's would be gone.
get_absl_handler().python_handler.stream = sys.__stderr__

settings.register_profile("prune", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # how busy a machine is
settings.load_profile("prune")


class FileByFile(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """In several processes the tests of a file stay together, and so do all that share the private Slurm."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return SLURM if path.startswith(f"tests/{SLURM}/") else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileByFile:
    """How pytest-xdist deals out the tests."""
    return FileByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The private Slurm comes first, as it takes longest."""
    items.sort(key=lambda item: item.path.parent.name != SLURM)


def pytest_unconfigure() -> None:
    """At the end all can go that `imports_stay` keeps."""
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="module")
def imports_stay() -> None:
    """What was imported before stays: to look through it for garbage takes a sixth of the time of the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the program remembers of files stays in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def compose_config() -> Compose:
    """Composes conf/ with the given overrides into the typed configuration, as the entry does."""

    def run(*overrides: str) -> Config:
        known_schemas()
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return to_config(compose("config", overrides=list(overrides)))

    return run


known_schemas = cache(register_schemas)
"""Registers them once a process, which is a fifth of a composition."""


@pytest.fixture
def run_line(tmp_path: Path) -> RunLine:
    """Runs `python -m prune.main`, or another module, with the given arguments in an empty folder, as its own process (with
    PyTorch imported before, see warm.py)."""

    def run(
        *arguments: str, cwd: Path = tmp_path, timeout: float = HANGS_S, module: str = "prune.main"
    ) -> subprocess.CompletedProcess[str]:
        return run_warm(module, arguments, cwd, os.environ | {"COLUMNS": "200"}, timeout)

    return run


@dataclass(frozen=True)
class Said:
    """How a command line ended, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs a command line in this process, in an empty folder; quicker than `run_line` for lines that end at once."""

    def run(*arguments: str) -> Said:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["prune", *arguments])
        try:
            main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        finally:
            logging.getLogger("prune").disabled = False  # Hydra disables it; a later test may listen to it
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; the test is skipped, visibly, where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real rows beside the checkout; the test is skipped, visibly, where there is none."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no real rows: {folder} is missing (set PRUNE_SHARED to the folder above data/)")
    return folder
