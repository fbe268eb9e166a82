"""Where cells stand: done, running, pending in the queue, failed, or still to do."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prune.cell.cell import Cell
from prune.cell.failure import Failure
from prune.cell.folder import CellFolder
from prune.cell.holder import Holder
from prune.cell.lock import Held, find_held
from prune.cell.settle import finished
from prune.cell.slurm_queue import ENDED_STATES, Job
from prune.cell.state import State, read_status
from prune.errors import UserError
from prune.files import now, read_json, write_json


@dataclass(frozen=True, slots=True)
class Submission:
    """The job that a cell was last submitted as."""

    job_id: str
    log: str
    """What the job prints."""
    sweep: str
    since: str
    status: str | None
    """A hash of what status.json said then: it says something else once the job has begun the cell."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a cell stands."""

    state: State
    result: dict[str, Any] | None = None
    """When it is done."""
    held: Held | None = None
    """When it is running, or when nobody here can tell."""
    job: Job | None = None
    """The job that it is submitted as, as long as the queue knows it."""
    submission: Submission | None = None
    failure: Failure | None = None
    """When it failed."""
    is_blocked: bool = False
    """Whether a file of it is damaged that no run writes anew: somebody has to remove it first."""

    @property
    def holder(self) -> Holder | None:
        """The process that works on it, or may do so."""
        return None if self.held is None else self.held.holder


def find_standing(cell: Cell, queue: Mapping[str, Job]) -> Standing:
    """Where `cell` stands; `queue` holds this user's jobs, or nothing where there is no Slurm."""
    folder = cell.files
    try:
        result = finished(cell)
        held = find_held(folder.path) if result is None else None
    except UserError as error:
        return Standing(State.failed, failure=damage(error), is_blocked=True)
    if result is not None:
        return Standing(State.done, result=result)
    try:
        standing = _stand(folder.path, held, queue)
    except UserError as error:  # of status.json or job.json: what runs the cell writes them anew
        return Standing(State.failed, failure=damage(error))
    harm = folder.find_damage(cell.scores) if standing.state is State.todo and folder.path.is_dir() else []
    if not harm:
        return standing
    return replace(standing, state=State.failed, failure=Failure("damaged", " ".join(harm), None))


def damage(error: UserError) -> Failure:
    """The failure of a cell with a file that cannot be read."""
    return Failure("damaged", str(error), None, wrong_use=True)


def stand_unfinished(folder: Path, queue: Mapping[str, Job]) -> Standing:
    """Where a cell stands that has no result, or not all that is asked of it.

    Raises:
        UserError: a file of it is damaged.
    """
    return _stand(folder, find_held(folder), queue)


def _stand(folder: Path, held: Held | None, queue: Mapping[str, Job]) -> Standing:
    submission = read_submission(folder)
    job = queue.get(submission.job_id) if submission else None
    if held is not None:
        return Standing(State.running, held=held, job=job, submission=submission)
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
    log = CellFolder(folder).log if CellFolder(folder).log.exists() else None
    if submission is not None and not has_begun(status, submission):
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
    return Failure(state, f"{where} ended without an error message; {last_line(log)}", log, status["job_id"])


def has_begun(status: dict[str, Any] | None, submission: Submission) -> bool:
    """Whether status.json was written after the submission, whatever the clocks of the machines say."""
    if status is None:
        return False
    return status["job_id"] == submission.job_id or hash_status(status) != submission.status


def hash_status(status: dict[str, Any] | None) -> str | None:
    """A hash of what status.json says; None when there is none."""
    return None if status is None else hashlib.sha256(json.dumps(status, sort_keys=True).encode()).hexdigest()[:16]


def failure_of_status(status: dict[str, Any], log: Path | None) -> Failure:
    """The failure that a cell's status.json tells of; `TIMEOUT: ...` is one of Slurm's words with its reason."""
    error = str(status.get("error"))
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
    """The lines at the end of a log, without empty ones."""
    with log.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 4096))
        lines = stream.read().decode(errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def write_submission(folder: Path, job_id: str, log: Path, sweep: str) -> None:
    """Keep which job a cell was submitted as."""
    try:
        status = hash_status(read_status(folder))
    except UserError:  # damaged: the job will write it anew
        status = None
    write_json(CellFolder(folder).job, asdict(Submission(job_id, str(log), sweep, now(), status)))


def read_submission(folder: Path) -> Submission | None:
    """The job that a cell was last submitted as; None when it never was."""
    keys = {"job_id": str, "log": str, "sweep": str, "since": str, "status": str | None}
    found = read_json(CellFolder(folder).job, keys)
    return None if found is None else Submission(**{key: found[key] for key in keys})
