"""What became of a job, from what Slurm and the files say: pure functions."""

import re
from collections.abc import Iterable
from pathlib import Path

from prune.cell.failure import Failure
from prune.cell.slurm_queue import Job
from prune.cell.standing import last_lines

_NEVER = re.compile(
    r"Partition(Node|Time)Limit|BadConstraints|DependencyNeverSatisfied|Invalid(Account|QOS)|AccountNotAllowed|QOSNotAllowed"
    r"|(Assoc|QOS)Max\w*PerJob(Limit)?|QOSMin\w+|JobHoldMaxRequeue|launch failed requeued held"
)
"""Reasons to be pending that do not end by themselves: the job asks for what it may never get."""

_OWN_LIMIT = re.compile(r"(Assoc|QOS)Max\w+")
"""Limits on what one user or account has running: they end when a running job of theirs ends."""


_MEANING = {
    "CANCELLED": "it was cancelled",
    "TIMEOUT": "it reached its time limit (launcher.timeout_min)",
    "NODE_FAIL": "its node went down",
    "OUT_OF_MEMORY": "it used more memory than it had asked for (launcher.mem_gb)",
    "PREEMPTED": "another job took its place",
    "COMPLETED": "it ended without a result: another process had the cell, and left none either",
}
"""What Slurm's states of an ended job mean; FAILED is explained by the last line of the log."""


def cannot_start(job: Job, queue: Iterable[Job]) -> bool:
    """Whether a pending job waits for something that will never come; `queue` holds all jobs of the user."""
    if not job.is_pending:
        return False
    if _NEVER.fullmatch(job.reason):
        return True
    return bool(_OWN_LIMIT.fullmatch(job.reason)) and not any(other.is_running for other in queue)


def stuck_failure(job: Job, log: Path) -> Failure:
    """The failure of a pending job that cannot start."""
    reason = (
        f"{job.reason}: it can never start with these options and stays in the queue. Correct the launcher.* key that this "
        f"is about; the same line then submits it anew (scancel {job.id} removes the old job)"
    )
    return Failure("PENDING", reason, log if log.exists() else None, job.id)


def last_words(log: Path) -> str:
    """The line near the end of a job's log that says most: the last one about an error, else the last one."""
    lines = last_lines(log)
    return next((line for line in reversed(lines[-5:]) if "error" in line.lower()), (lines or ["its log is empty"])[-1])


def dead_failure(job: Job | None, job_id: str, log: Path) -> Failure:
    """What to say of a cell whose job is over without having brought it to an end; None is a job that no tool knows."""
    if job is None:
        unknown = "neither squeue nor sacct knows this job any more"
        if log.exists():
            return Failure("gone", f"{unknown}; last words: {last_words(log)}", log, job_id)
        return Failure("gone", f"{unknown}: it was cancelled while it waited, or forgotten", None, job_id)
    if log.exists():
        words = f"last words: {last_words(log)}"
        return Failure(job.state, "; ".join(filter(None, (_MEANING.get(job.state), words))), log, job_id)
    if job.state == "CANCELLED":
        return Failure(job.state, "it was cancelled before it began", None, job_id)
    if job.state == "FAILED":
        where = f" {job.node}" if job.node else ""
        reason = f"its node{where} could not write {log}. Choose a folder that the nodes share, with output_dir=FOLDER"
        return Failure(job.state, reason, None, job_id, wrong_use=True)
    return Failure(job.state, "it left no log", None, job_id)
