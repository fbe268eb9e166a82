"""The process that holds a cell: who it is, and whether it lives."""

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from prune.cell.slurm_queue import SlurmUnavailableError, job_id, queued_jobs
from prune.files import now


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a claim."""

    host: str
    boot_id: str
    """Of the machine's last start."""
    pid_namespace: str
    """In which `pid` counts (containers have their own)."""
    pid: int
    started: str
    """When the process began, in the kernel's ticks: another process may get the same pid later."""
    job_id: str | None
    since: str

    def describe(self) -> str:
        """`process 12 on host (job 3_4), since ...`."""
        job = f" (job {self.job_id})" if self.job_id else ""
        return f"process {self.pid} on {self.host}{job}, since {self.since}"


def this_process() -> Holder:
    """The record of our own process."""
    return Holder(
        host=socket.gethostname(),
        boot_id=_boot_id(),
        pid_namespace=_pid_namespace(),
        pid=os.getpid(),
        started=_start_time(os.getpid()) or "",
        job_id=job_id(),
        since=now(),
    )


def is_alive(holder: Holder) -> bool | None:
    """Whether the holder's process lives; None when that cannot be known from here."""
    if holder.host == socket.gethostname() and holder.pid_namespace == _pid_namespace():
        return holder.boot_id == _boot_id() and _start_time(holder.pid) == holder.started
    if holder.job_id is None:
        return None
    if holder.job_id == job_id():
        return False  # we are that job, started again elsewhere
    try:
        job = queued_jobs().get(holder.job_id)
    except SlurmUnavailableError:
        return None
    return job is not None and job.is_running


@cache
def _boot_id() -> str:
    return _read("/proc/sys/kernel/random/boot_id")


@cache
def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _start_time(pid: int) -> str | None:
    """When a process began; None when there is no such process, or only its entry is left (a zombie)."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if fields:
        return None if fields[0] in "ZX" else fields[19]
    if Path("/proc/self/stat").exists():
        return None
    try:  # a system without /proc
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
