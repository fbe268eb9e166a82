"""What arrived at a server, what is kept offline, and `wandb sync` as typed by hand."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import HANGS_S

from .wandb_server import StoredRun

BLOCKS = [
    {"block": 0, "block/sparsity": 0.5, "block/seconds": 1.0, "block/error": 0.5},
    {"block": 1, "block/sparsity": 0.5, "block/seconds": 0.25},
]
"""The history of `cells.LINEARS`."""


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Without what W&B adds."""
    return {key: value for key, value in values.items() if not key.startswith("_")}


def history_of(run: StoredRun) -> list[dict[str, Any]]:
    return [plain(run.history[line]) for line in sorted(run.history)]


def offline_runs(output_dir: Path) -> list[Path]:
    return sorted((output_dir / "wandb").glob("offline-run-*"))


def sync(folders: list[Path], cwd: Path) -> str:
    """Type `wandb sync` for `folders`; returns what it prints."""
    line = [sys.executable, "-c", "from wandb.cli.cli import cli; cli()", "sync", *map(str, folders)]
    done = subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=HANGS_S, env=dict(os.environ), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
