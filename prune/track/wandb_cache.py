"""Where W&B's service keeps its own log: on the screen, if it cannot write where it would."""

import os
from pathlib import Path
from tempfile import TemporaryFile

VARIABLE = "WANDB_CACHE_DIR"


def lead_cache(folder: Path) -> None:
    """Let the service keep its log in `folder`, where it cannot write the place that it would take.

    A container or a service account may have no home that can be written, or none at all.
    """
    named = os.environ.get(VARIABLE) or os.environ.get("XDG_CACHE_HOME")
    logs = Path(named or Path(os.environ.get("HOME") or "", ".cache")) / "wandb" / "logs"
    if not logs.is_absolute() or not _can_write(logs):
        os.environ[VARIABLE] = str(folder)


def _can_write(folder: Path) -> bool:
    """Whether files can be made in `folder`: tried, since what a folder shows of its rights is not all that counts."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
