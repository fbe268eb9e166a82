"""Why a cell has no result."""

from dataclasses import dataclass
from pathlib import Path

from prune.cell.cell import Cell
from prune.errors import UserError


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a cell has no result."""

    state: str
    """`failed` when it raised, else how it died: `killed by signal 9`, or Slurm's word, like `TIMEOUT`."""
    reason: str
    """The last line: of its traceback, or of the log of its job."""
    log: Path | None
    """Where to read more."""
    job_id: str | None = None
    wrong_use: bool = False
    """Whether the user can correct it: the reason is then a whole message."""

    @classmethod
    def of_exception(cls, error: BaseException, log: Path | None, job_id: str | None = None) -> "Failure":
        """The failure of a cell that raised `error`."""
        wrong_use = isinstance(error, UserError)
        reason = str(error) if wrong_use else f"{type(error).__name__}: {error}"
        return cls("failed", reason, log, job_id, wrong_use)

    def describe(self, cell: Cell) -> str:
        """`tiny/c4/wanda/50%/s0 TIMEOUT (job 12_3): last line`, and the log's path on a line of its own."""
        return f"{cell.title} {self}"

    def __str__(self) -> str:
        job = f" (job {self.job_id})" if self.job_id else ""
        where = f"\n  see {self.log}" if self.log else ""
        return f"{self.state}{job}: {self.reason}{where}"
