"""Where a number comes from: versions, code, machine."""

import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import prune
from prune.cell.slurm_queue import job_id
from prune.config.model import ModelConfig
from prune.files import now
from prune.lazy import torch

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "lm_eval",
    "hydra-core",
    "omegaconf",
    "wandb",
)


@dataclass(frozen=True, slots=True)
class CodeState:
    """Which code of ours runs; all None where it is not a checkout."""

    git: str | None
    """The commit."""
    dirty: bool | None
    """Whether files differ from it."""
    changes: str | None
    """A hash of what differs; None when nothing does."""


def provenance(device: str, started: str, submitted: CodeState | None) -> dict[str, Any]:
    """What result.json keeps about the circumstances of a cell; `submitted` is the code at the submission of its job."""
    code = code_state()
    return {
        "git": code.git,
        "dirty": code.dirty,
        "submitted": submitted and {key: value for key, value in asdict(submitted).items() if key != "changes"},
        "versions": versions(),
        "device": device,
        "gpu": torch.cuda.get_device_name() if device.startswith("cuda") else None,
        "num_threads": torch.get_num_threads(),
        "host": socket.gethostname(),
        "job_id": job_id(),
        "started": started,
        "finished": now(),
    }


def code_warning(submitted: CodeState | None) -> str | None:
    """What to say when the code at the start of this process is not that of the submission; None when it is."""
    code = code_state()
    if submitted is None or submitted == code:
        return None
    return f"The code changed between submission ({describe_code(submitted)}) and start ({describe_code(code)}) of the job."


def describe_code(code: CodeState) -> str:
    """Its commit, and whether files differ from that; the page has the same words (report/output/page/running.js)."""
    changes = f" with uncommitted changes ({code.changes})" if code.changes else ""
    return f"{(code.git or 'no checkout')[:12]}{changes}"


def versions() -> dict[str, str]:
    """Version of Python, of the `prune` that runs, and of each package that can change a number."""
    found = {"python": platform.python_version(), "prune": prune.__version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def code_state() -> CodeState:
    """The state of our own code when this process first asked: what it has imported is not read again."""
    return read_code_state(Path(__file__).resolve().parents[2])


def read_code_state(root: Path) -> CodeState:
    """The state of the checkout in `root` as it is now."""
    if not (root / ".git").exists():
        return CodeState(None, None, None)
    sha = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain")
    if sha is None or status is None:
        return CodeState(None, None, None)
    if not status:
        return CodeState(sha, False, None)
    changes = f"{status}\n{_git(root, 'diff', 'HEAD')}"
    return CodeState(sha, True, hashlib.sha256(changes.encode()).hexdigest()[:12])


def _git(root: Path, *arguments: str) -> str | None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def describe_placement(config: ModelConfig) -> dict[str, Any]:
    """How the model was held, where not whole on one device; numbers depend on it only by rounding."""
    return ({"offload": True} if config.offload else {}) | ({"device_map": config.device_map} if config.device_map else {})
