"""Where W&B's service keeps its own log: on the screen, if it cannot write where it would."""

import os
from pathlib import Path

VARIABLE = "WANDB_CACHE_DIR"


def lead_cache(folder: Path) -> None:
    """Let the service keep its log in `folder`, where nobody says otherwise and the user's cache cannot be written.

    A container or a service account may have no home that can be written.
    """
    import platformdirs  # not above: it comes with wandb

    if VARIABLE not in os.environ and not _can_write(Path(platformdirs.user_cache_dir("wandb"))):
        os.environ[VARIABLE] = str(folder)


def _can_write(folder: Path) -> bool:
    """Whether files can be made in `folder`, or it in what there is of its path."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
