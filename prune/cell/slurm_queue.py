"""What Slurm's own commands say about jobs: the edge to squeue, sacct, scontrol and scancel.

A queue forgets a job minutes after its end; accounting remembers it, where the site has accounting. Neither knows a single
element that was cancelled while its whole array was pending.
"""

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

PENDING_STATES = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
ENDED_STATES = frozenset(
    {
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"),
        *("PREEMPTED", "REVOKED"),
    }
)


_TIMEOUT_S = 60


class SlurmUnavailableError(Exception):
    """Slurm does not answer: the controller is down, or its commands are not here. Says so in its own words."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job, or an element of an array, as Slurm describes it."""

    id: str
    """`12`, or `12_3` in an array."""
    state: str
    """Slurm's word, like `PENDING`."""
    reason: str = ""
    """Why it is pending."""
    node: str = ""
    used: str = ""
    """Time since its start, as squeue writes it."""
    left: str = ""
    """Time to its limit."""
    exit_code: str = ""
    """`1:0`: exit status and signal; from accounting only."""

    @property
    def is_pending(self) -> bool:
        """Whether it waits for its start."""
        return self.state in PENDING_STATES

    @property
    def has_ended(self) -> bool:
        """Whether it will never run again."""
        return self.state in ENDED_STATES

    @property
    def is_running(self) -> bool:
        """Whether its processes may be alive."""
        return not self.is_pending and not self.has_ended


@dataclass(frozen=True, slots=True)
class OwnedJob:
    """A job, and whose it is."""

    job: Job
    uid: int


_QUEUE_FORMAT = "%i|%T|%r|%N|%M|%L"


def queued_jobs() -> dict[str, Job]:
    """This user's jobs that the controller knows: waiting, running, and ended a few minutes ago at most.

    Raises:
        SlurmUnavailableError: the controller does not answer.
    """
    # by number: names come from variables that another user's shell may have left
    options = ["--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--format={_QUEUE_FORMAT}"]
    return parse_queue(run_command(["squeue", *options]))


def find_job(job_id: str) -> OwnedJob | None:
    """Any user's job; None when the controller does not list it, which may be since the site hides it.

    Raises:
        SlurmUnavailableError: the controller does not answer, or says that it knows no such job.
    """
    options = ["--noheader", "--array", "--states=all", f"--jobs={job_id}", f"--format=%U|{_QUEUE_FORMAT}"]
    for line in run_command(["squeue", *options]).splitlines():
        uid, _, rest = line.strip().partition("|")
        job = parse_queue(rest).get(job_id)
        if job is not None and uid.isdecimal():
            return OwnedJob(job, int(uid))
    return None


@cache
def cluster_name() -> str | None:
    """The name of the cluster whose queue we see; None when Slurm does not say.

    Raises:
        SlurmUnavailableError: the controller does not answer.
    """
    found = re.search(r"^ClusterName\s*=\s*(\S+)", run_command(["scontrol", "show", "config"]), re.MULTILINE)
    return found.group(1) if found else None


def parse_queue(text: str) -> dict[str, Job]:
    """Job id -> job, of what squeue printed in the format above."""
    rows = [line.strip().split("|") for line in text.splitlines() if line.count("|") == 5]
    return {row[0]: Job(row[0], row[1], *(_given(value) for value in row[2:])) for row in rows}


def accounted_jobs(job_ids: Iterable[str]) -> dict[str, Job] | None:
    """What accounting knows of these jobs; None where there is no accounting, or it does not answer."""
    roots = sorted({job_id.partition("_")[0] for job_id in job_ids})
    if not roots:
        return {}
    fields = "JobID,State,ExitCode,NodeList,Elapsed"
    try:
        options = ["--noheader", "--parsable2", "--allocations", f"--format={fields}", f"--jobs={','.join(roots)}"]
        text = run_command(["sacct", *options])
    except SlurmUnavailableError:
        return None
    return parse_accounting(text)


def parse_accounting(text: str) -> dict[str, Job]:
    """Job id -> job, of what sacct printed in the format above; `CANCELLED by 0` is CANCELLED."""
    jobs = {}
    for line in text.splitlines():
        job_id, state, exit_code, node, elapsed = (line.strip().split("|") + [""] * 5)[:5]
        if re.fullmatch(r"\d+(_\d+)?", job_id):
            jobs[job_id] = Job(job_id, state.split(" ")[0], node=_given(node), used=elapsed, exit_code=exit_code)
    return jobs


def _given(value: str) -> str:
    return "" if value in ("None", "N/A", "(null)", "None assigned") else value


def run_command(command: list[str]) -> str:
    """What one of Slurm's commands prints."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise SlurmUnavailableError(f"{command[0]} is not on the PATH") from None
    except subprocess.TimeoutExpired:
        raise SlurmUnavailableError(f"{command[0]} did not answer within {_TIMEOUT_S} s") from None
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or f"{command[0]} failed with {done.returncode}").splitlines()
        raise SlurmUnavailableError(words[-1])
    return done.stdout


def job_id() -> str | None:
    """The Slurm job that this process is, `12_3` in an array; None outside Slurm."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID")
