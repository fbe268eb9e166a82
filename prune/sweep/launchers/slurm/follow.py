"""Follows submitted cells to their end: by their files first, by the queue and accounting where the files are silent."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prune.cell.failure import Failure
from prune.cell.lock import CellHeldError, claim, find_held
from prune.cell.settle import finished
from prune.cell.slurm_queue import Job, SlurmUnavailableError, accounted_jobs, queued_jobs
from prune.cell.standing import failed_in, failure_of_status
from prune.cell.state import State, read_status, write_status
from prune.errors import UserError
from prune.sweep.launchers.slurm.followed import Followed
from prune.sweep.launchers.slurm.screen import Screen
from prune.sweep.launchers.slurm.verdict import cannot_start, dead_failure, stuck_failure
from prune.sweep.recorder import Recorder

GRACE_S = 15.0
"""Seconds after its job's end in which a cell's files may still be on their way to this machine (network file systems)."""

PATIENCE_S = 30.0
"""Seconds that a job may be pending for a reason that does not end by itself before we say so."""

FIRST_PAUSE_S = 0.5

LAST_WORD_S = 60.0
"""Seconds that a job may take to end after its last result, while it mirrors that."""


class Follower:
    """Looks at all cells that are on their way, again and again, until each has a result or a failure."""

    def __init__(self, cells: Sequence[Followed], recorder: Recorder, screen: Screen) -> None:
        self._left = {followed.cell.id: followed for followed in cells}
        self._session, self._screen = recorder, screen
        self._job_ids = {followed.job_id for followed in cells}
        self._silent = False

    def follow(self, poll_seconds: float, num_left: int = 0) -> None:
        """Return when at most `num_left` cells wait or run, and no job has ended of which it is not known how."""
        pause = FIRST_PAUSE_S
        while True:
            self.look()
            self._screen.show(list(self._left.values()), self._session.outcome)
            if len(self._left) <= num_left and all(followed.gone_since is None for followed in self._left.values()):
                break
            time.sleep(min(pause, poll_seconds))
            pause = min(pause * 1.3, poll_seconds)
        if self._left:
            return
        end = time.monotonic() + LAST_WORD_S
        while time.monotonic() < end and self._any_job_runs():
            time.sleep(FIRST_PAUSE_S)

    def look(self) -> None:
        """Look once at each cell."""
        self._for_each(self._look_for_result)
        queue = self._read_queue()
        if queue is None:
            return
        self._for_each(lambda followed: self._look_at_job(followed, queue))
        forgotten = [one.job_id for one in self._left.values() if one.gone_since is not None and one.job is None]
        accounted = (accounted_jobs(forgotten) or {}) if forgotten else {}
        self._for_each(lambda followed: self._bury(followed, accounted))

    def _for_each(self, look: Callable[[Followed], None]) -> None:
        """Look at each cell that waits or runs; one whose files are damaged has failed."""
        for followed in list(self._left.values()):
            try:
                look(followed)
            except UserError as error:
                self._fail(followed, Failure.of_exception(error, followed.cell.folder() / "run.log", followed.job_id))

    def _read_queue(self) -> dict[str, Job] | None:
        """The queue; None while Slurm does not answer, when nothing can be said of any job."""
        try:
            queue = queued_jobs()
        except SlurmUnavailableError as error:
            if not self._silent:
                self._screen.say(f"Slurm does not answer ({error}). The jobs go on; waiting for Slurm.")
            self._silent = True
            return None
        if self._silent:
            self._screen.say("Slurm answers again.")
        self._silent = False
        return queue

    def _any_job_runs(self) -> bool:
        """Whether one of the jobs is still at work, if only with mirroring its results."""
        queue = self._read_queue() or {}
        return any(job.id in self._job_ids and job.is_running for job in queue.values())

    def _look_for_result(self, followed: Followed) -> None:
        if not (followed.cell.folder() / "result.json").exists():
            return
        result = finished(followed.cell)
        if result is not None:
            self._end(followed, self._session.finish(followed.cell, result))

    def _look_at_job(self, followed: Followed, queue: Mapping[str, Job]) -> None:
        """Take note of where the job of a cell is; end the cell when it failed by itself, or cannot start."""
        known = queue.get(followed.job_id)
        if known is not None or not (followed.job and followed.job.has_ended):  # the queue soon forgets how a job ended
            followed.job = known
        if followed.job is None or followed.job.has_ended:
            followed.gone_since = followed.gone_since or time.monotonic()
            return
        followed.gone_since = None
        status = read_status(followed.cell.folder())
        if status is not None and failed_in(status, followed.job_id):
            self._fail(followed, failure_of_status(status, followed.cell.folder() / "run.log"))
            return
        began = status is not None and status["state"] == State.running.value and status["job_id"] == followed.job_id
        followed.state = State.running if began and followed.job.is_running else State.pending
        needed = [followed.job, queue.get(followed.set_job_id or "")]
        stuck = next((job for job in needed if job is not None and cannot_start(job, queue.values())), None)
        followed.stuck_since = (followed.stuck_since or time.monotonic()) if stuck else None
        if stuck and followed.stuck_since is not None and time.monotonic() - followed.stuck_since > PATIENCE_S:
            self._fail(followed, stuck_failure(stuck, followed.log))

    def _bury(self, followed: Followed, accounted: Mapping[str, Job]) -> None:
        """End a cell whose job is over and that has no result, with what it died of."""
        if followed.gone_since is None:
            return
        gone_s = time.monotonic() - followed.gone_since
        status = read_status(followed.cell.folder())
        if gone_s < GRACE_S and not (status is not None and failed_in(status, followed.job_id)):
            return
        self._look_for_result(followed)
        job = followed.job or accounted.get(followed.job_id)
        accounting_is_late = job is not None and not job.has_ended and gone_s < 3 * GRACE_S
        if followed.cell.id in self._left and not accounting_is_late:
            self._bury_one(followed, job)

    def _bury_one(self, followed: Followed, job: Job | None) -> None:
        cell, folder = followed.cell, followed.cell.folder()
        held = find_held(folder)
        if held is not None:  # its job left it to another process, which is alive
            followed.state = State.running
            if not held.is_certain:
                self._end(followed, self._session.hold(cell, held.describe()))
            return
        status = read_status(folder)
        if status is not None and failed_in(status, followed.job_id):
            self._fail(followed, failure_of_status(status, folder / "run.log"))
            return
        failure = dead_failure(job, followed.job_id, followed.log)
        mark_dead(folder, failure)
        self._fail(followed, failure)

    def _fail(self, followed: Followed, failure: Failure) -> None:
        self._end(followed, self._session.fail(followed.cell, failure))

    def _end(self, followed: Followed, note: str) -> None:
        del self._left[followed.cell.id]
        self._screen.say(f"{followed.cell.title}  {note}")


def mark_dead(folder: Path, failure: Failure) -> None:
    """Write into status.json what a cell died of, since it could not do so itself."""
    try:
        with claim(folder):
            write_status(folder, State.failed, f"{failure.state}: {failure.reason}", failure.job_id)
    except CellHeldError:
        return  # somebody took it over meanwhile, and writes the status
