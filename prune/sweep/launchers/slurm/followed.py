"""What is known of a job that is followed."""

from dataclasses import dataclass
from pathlib import Path

from prune.cell.cell import Cell
from prune.cell.slurm_queue import Job
from prune.cell.state import State


@dataclass(slots=True)
class Followed:
    """A cell that waits or runs, and since when its job looks dead."""

    cell: Cell
    job_id: str
    log: Path
    """What the job prints."""
    state: State = State.pending
    job: Job | None = None
    gone_since: float | None = None
    stuck_since: float | None = None
    set_job_id: str | None = None
    """The job that makes its calibration set, which its own waits for."""

    @property
    def roots(self) -> list[str]:
        """The jobs, arrays whole, that end it when they are cancelled."""
        ids = [self.job_id, *([self.set_job_id] if self.set_job_id else [])]
        return [job_id.partition("_")[0] for job_id in ids]
