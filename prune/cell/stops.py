"""What stops a cell without failing it."""

from contextlib import AbstractContextManager

from prune.cell.slurm_queue import job_id
from prune.errors import interruptions


def stops_pass() -> AbstractContextManager[None]:
    """Let Ctrl-C, and in a Slurm job the exit with which it goes back to the queue, leave as themselves, whatever a library
    made of them.

    Raises:
        KeyboardInterrupt, SystemExit: an error inside came from it.
    """
    return interruptions() if job_id() is None else interruptions(SystemExit)
