"""Where a number comes from: versions, code, machine."""

import importlib.metadata
import os
import platform
import socket
import subprocess
from pathlib import Path
from typing import Any

from prune.cell import job_id, now

PACKAGES = (
    "prune",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "lm_eval",
    "hydra-core",
    "omegaconf",
    "wandb",
)


def provenance(device: str, started: str) -> dict[str, Any]:
    """What result.json keeps about the circumstances of a cell."""
    sha, dirty = git_state()
    return {
        "git": sha,
        "dirty": dirty,
        "versions": versions(),
        "device": device,
        "host": socket.gethostname(),
        "job_id": job_id(),
        "started": started,
        "finished": now(),
    }


def versions() -> dict[str, str]:
    """Version of Python and of each package that can change a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> tuple[str | None, bool | None]:
    """The commit of our own code and whether files differ from it; (None, None) when it is not a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None, None
    sha = _git(root, "rev-parse", "HEAD")
    return (sha, bool(_git(root, "status", "--porcelain"))) if sha else (None, None)


def _git(root: Path, *arguments: str) -> str | None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def peak_host_memory_mb() -> float:
    """The most memory that this process has held so far, in MB."""
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
