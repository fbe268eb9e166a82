"""The process that holds a cell: who it is, and whether it lives."""

import os
import pwd
import socket
from dataclasses import dataclass
from functools import cache

from prune.cell.slurm_queue import SlurmUnavailableError, cluster_name, find_job, job_id, queued_jobs
from prune.files import now
from prune.process import boot_id, lives, machine_id, make_tag, pid_namespace, start_time


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a claim."""

    host: str
    machine_id: str
    """What tells machines of one name apart; may be empty."""
    boot_id: str
    """The id of the machine's last boot."""
    pid_namespace: str
    """In which `pid` counts (containers have their own)."""
    pid: int
    started: str
    """When the process began, in the kernel's ticks: another process may get the same pid later."""
    user: str
    uid: int
    job_id: str | None
    cluster: str | None
    """The cluster that runs the job, as Slurm names it."""
    num_restarts: int
    """How often the job had gone back to the queue."""
    since: str

    @property
    def tag(self) -> str:
        """The process in short, as `prune.process` reads it."""
        return make_tag(self.host, self.machine_id, self.boot_id, self.pid_namespace, self.pid, self.started)

    def describe(self) -> str:
        """`process 12 on host (alice, job 3_4), since ...`."""
        job = f", job {self.job_id}" if self.job_id else ""
        return f"process {self.pid} on {self.host} ({self.user}{job}), since {self.since}"


def this_process() -> Holder:
    """The record of our own process."""
    return Holder(
        host=socket.gethostname(),
        machine_id=machine_id(),
        boot_id=boot_id(),
        pid_namespace=pid_namespace(),
        pid=os.getpid(),
        started=start_time(os.getpid()) or "",
        user=user(),
        uid=os.getuid(),
        job_id=job_id(),
        cluster=os.environ.get("SLURM_CLUSTER_NAME"),
        num_restarts=num_restarts(),
        since=now(),
    )


def is_alive(holder: Holder) -> bool | None:
    """Whether the holder's process lives; None when that cannot be known from here.

    A job that the queue does not list is over if it is ours, on our cluster. Any other may be hidden from us.
    """
    alive = lives(holder.tag)
    if alive is not None or holder.job_id is None or holder.cluster is None:
        return alive
    is_ours = holder.uid == os.getuid()
    if is_ours and (holder.job_id, holder.cluster) == (job_id(), os.environ.get("SLURM_CLUSTER_NAME")):
        return False if holder.num_restarts < num_restarts() else None  # we are that job, started again or on another node
    try:
        if holder.cluster != cluster_name():
            return None
        if is_ours:
            job = queued_jobs().get(holder.job_id)
            return job is not None and job.is_running
        found = find_job(holder.job_id)
    except SlurmUnavailableError:
        return None
    return found.job.is_running if found is not None and found.uid == holder.uid else None


@cache
def user() -> str:
    """The name of the user that this process runs as; environment variables may name another."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may not know its user
        return str(os.getuid())


def num_restarts() -> int:
    """How often Slurm has put this job back into the queue."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)
