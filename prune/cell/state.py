"""status.json: where a cell says it stands."""

import os
import socket
from enum import Enum
from pathlib import Path
from typing import Any

from prune.cell.folder import CellFolder
from prune.cell.slurm_queue import job_id
from prune.files import now, read_json, write_json


class State(str, Enum):
    """Where a cell stands."""

    todo = "todo"
    pending = "pending"
    """It waits in the queue; never in status.json."""
    running = "running"
    done = "done"
    failed = "failed"


def write_status(folder: Path, state: State, error: str | None = None, job: str | None = None) -> None:
    """Write status.json of the cell in `folder`; `job` is the Slurm job that it is about, ours unless given."""
    status = {
        "state": state.value,
        "since": now(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "job_id": job or job_id(),
        "error": error,
    }
    write_json(CellFolder(folder).status, status)


def read_status(folder: Path) -> dict[str, Any] | None:
    """status.json of the cell in `folder`; None when it has none."""
    return read_json(CellFolder(folder).status, {"state": str, "since": str, "host": str, "pid": int, "job_id": str | None})
