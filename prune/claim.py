"""Who works on a folder: claims that hold between processes and machines, and end with their holder.

A claim is a file `.claim-N` with a record of its holder; the file with the highest N counts. It is taken by making the next
file, which succeeds for one process only, also on network file systems without locks (a hard link appears whole or not at
all). It is given back by emptying the file. When its holder is dead, the next one makes N + 1: whoever is faster has it. Age
plays no part: the holder's process, machine and job are looked up.
"""

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from prune.errors import UserError
from prune.files import disk_errors
from prune.slurm import SlurmUnavailableError, queued_jobs

_TRIES = 600
_PAUSE_S = 0.1


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


class CellHeldError(Exception):
    """Another process has the claim, and it is alive or cannot be checked from here."""

    def __init__(self, holder: Holder, path: Path, certain: bool) -> None:
        self.holder = holder
        advice = "" if certain else f" (it cannot be checked from here; if it is gone, remove {path})"
        super().__init__(f"held by {holder.describe()}{advice}")


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Hold the work on `folder`, which is made if need be.

    Raises:
        CellHeldError: another process holds it.
        UserError: the folder cannot be written.
    """
    path = _take(folder)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):  # the folder was moved away meanwhile
            os.truncate(path, 0)


@contextmanager
def claim_when_free(folder: Path, timeout_s: float = 600.0) -> Iterator[None]:
    """Hold the work on `folder` as soon as nobody else does.

    Raises:
        UserError: somebody else held it all the time.
    """
    end = time.monotonic() + timeout_s
    while True:
        try:
            path = _take(folder)
            break
        except CellHeldError as error:
            if time.monotonic() > end:
                raise UserError(f"{folder} is {error}. Wait for it and run the same line again.") from None
            time.sleep(_PAUSE_S)
    try:
        yield
    finally:
        os.truncate(path, 0)


def find_holder(folder: Path) -> Holder | None:
    """The process that works on `folder`; None when nobody does, or it is known to be dead."""
    latest = _latest(folder)
    return None if latest is None or latest[1] is None or is_alive(latest[1]) is False else latest[1]


def job_id() -> str | None:
    """The Slurm job that this process is, `12_3` in an array; None outside Slurm."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID")


def now() -> str:
    """The time as ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


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


def _take(folder: Path) -> Path:
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".claim.{uuid.uuid4().hex}"
        draft.write_text(json.dumps(asdict(this_process())))
        try:
            for _ in range(_TRIES):
                number = _next_number(folder)
                path = folder / f".claim-{number}"
                if _link(draft, path):
                    if max(_numbers(folder)) == number:
                        _forget(folder, number - 1)
                        return path
                    path.unlink(missing_ok=True)  # made from a stale look at the folder; its successor may have removed it
                time.sleep(_PAUSE_S)
        finally:
            draft.unlink(missing_ok=True)
    raise UserError(f"{folder} could not be claimed: its files {folder}/.claim-* change all the time, or are not seen here.")


def _link(draft: Path, path: Path) -> bool:
    """Make `path` with the content of `draft`; False when another process was faster."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    return True


def _next_number(folder: Path) -> int:
    """The number of the next claim.

    Raises:
        CellHeldError: the latest is held.
    """
    latest = _latest(folder)
    if latest is None:
        return 0
    number, holder = latest
    if holder is not None and (alive := is_alive(holder)) is not False:
        raise CellHeldError(holder, folder / f".claim-{number}", certain=alive is True)
    return number + 1


def _latest(folder: Path) -> tuple[int, Holder | None] | None:
    """(number of the latest claim, its holder or None when it was given back); None when there never was one."""
    numbers = _numbers(folder)
    if not numbers:
        return None
    number = max(numbers)
    try:
        text = (folder / f".claim-{number}").read_text()
        return number, Holder(**json.loads(text)) if text else None
    except FileNotFoundError:  # forgotten meanwhile, for a later one
        return _latest(folder)
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder}/.claim-{number} is damaged ({error}). Remove it and run the same line again.") from None


def _numbers(folder: Path) -> list[int]:
    try:
        names = [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [int(found.group(1)) for name in names if (found := re.fullmatch(r"\.claim-(\d+)", name))]


def _forget(folder: Path, before: int) -> None:
    """Remove the claims whose number is below `before`."""
    for number in _numbers(folder):
        if number < before:
            (folder / f".claim-{number}").unlink(missing_ok=True)


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
