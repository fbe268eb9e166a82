"""Where each cell stands, read from its files and from the queue: done, running, pending, failed or still to do.

status.json alone does not tell: a process that was killed leaves "running" behind. So the holder of the claim is looked up,
and the job that the cell was last submitted as.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prune.cell import Cell, State, read_status
from prune.claim import Holder, find_holder, now
from prune.files import read_json, write_json
from prune.results import finished_result
from prune.run import plan
from prune.slurm import ENDED_STATES, Job
from prune.sweep.outcome import Failure

JOB_FILE = "job.json"


@dataclass(frozen=True, slots=True)
class Submission:
    """The job that a cell was last submitted as."""

    job_id: str
    log: str
    """What the job prints."""
    sweep: str
    since: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a cell stands."""

    state: State
    result: dict[str, Any] | None = None
    """When it is done."""
    holder: Holder | None = None
    """When it is running."""
    job: Job | None = None
    """The job that it is submitted as, as long as the queue knows it."""
    submission: Submission | None = None
    failure: Failure | None = None
    """When it failed."""


def find_standing(cell: Cell, queue: Mapping[str, Job]) -> Standing:
    """Where `cell` stands; `queue` holds this user's jobs, or nothing where there is no Slurm."""
    folder = cell.folder()
    result = finished_result(folder, plan(cell))
    if result is not None:
        return Standing(State.done, result=result)
    return stand_unfinished(folder, queue)


def stand_unfinished(folder: Path, queue: Mapping[str, Job]) -> Standing:
    """Where a cell stands that has no result, or not all that is asked of it."""
    submission, holder = read_submission(folder), find_holder(folder)
    job = queue.get(submission.job_id) if submission else None
    if holder is not None:
        return Standing(State.running, holder=holder, job=job, submission=submission)
    status = read_status(folder)
    if job is not None and not job.has_ended and not failed_in(status, job.id):
        return Standing(State.pending, job=job, submission=submission)
    failure = past_failure(folder, status, submission, job)
    return Standing(State.failed if failure else State.todo, job=job, submission=submission, failure=failure)


def failed_in(status: dict[str, Any] | None, job_id: str) -> bool:
    """Whether the cell itself said, in this job, that it failed."""
    return status is not None and status["state"] == State.failed.value and status["job_id"] == job_id


def past_failure(
    folder: Path, status: dict[str, Any] | None, submission: Submission | None, job: Job | None
) -> Failure | None:
    """What went wrong the last time, for a cell that nobody works on; None when it was never tried."""
    log = folder / "run.log" if (folder / "run.log").exists() else None
    if submission is not None and (status is None or status["since"] < submission.since):
        state = job.state if job else "gone"
        printed = Path(submission.log)
        what = "its job ended before the cell began"
        return Failure(state, what, printed if printed.exists() else None, submission.job_id)
    if status is None or status["state"] in (State.done.value, State.todo.value):
        return None
    if status["state"] == State.failed.value:
        return failure_of_status(status, log)
    where = f"process {status['pid']} on {status['host']}"
    state = job.state if job and job.id == status["job_id"] else "killed"
    return Failure(state, f"{where} ended without a word; {last_line(log)}", log, status["job_id"])


def failure_of_status(status: dict[str, Any], log: Path | None) -> Failure:
    """The failure that a cell's status.json tells of; `TIMEOUT: ...` is one of Slurm's words with its reason."""
    error = str(status["error"])
    word, _, rest = error.partition(": ")
    if word in ENDED_STATES:
        return Failure(word, rest, log, status["job_id"])
    wrong_use = word == "UserError"
    return Failure("failed", rest if wrong_use else error, log, status["job_id"], wrong_use)


def last_line(log: Path | None) -> str:
    """The last line of a log that is not empty."""
    if log is None or not log.exists():
        return "it left no log"
    return (last_lines(log) or ["its log is empty"])[-1]


def last_lines(log: Path) -> list[str]:
    """The lines at the end of a log, but empty ones."""
    with log.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 4096))
        lines = stream.read().decode(errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def write_submission(folder: Path, job_id: str, log: Path, sweep: str) -> None:
    """Keep which job a cell was submitted as."""
    write_json(folder / JOB_FILE, asdict(Submission(job_id, str(log), sweep, now())))


def read_submission(folder: Path) -> Submission | None:
    """The job that a cell was last submitted as; None when it never was."""
    found = read_json(folder / JOB_FILE)
    return None if found is None else Submission(**found)
