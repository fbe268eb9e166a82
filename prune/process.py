"""Which process this is, as a short text that holds between machines, and whether the process behind such a text lives.

A tag is `machine-boot-pid-started`. The machine is a hash of its names and of the space in which process ids count
(containers have their own); `started` is the kernel's, since another process may get the same id later.
"""

import hashlib
import os
import socket
from functools import cache
from pathlib import Path


def make_tag(host: str, machine_id: str, boot_id: str, pid_namespace: str, pid: int, started: str) -> str:
    """The tag of a process."""
    machine = hashlib.sha256("\n".join((host, machine_id, pid_namespace)).encode()).hexdigest()[:8]
    return f"{machine}-{boot_id[:8]}-{pid}-{started}"


def own_tag() -> str:
    """The tag of this process."""
    pid = os.getpid()
    return make_tag(socket.gethostname(), machine_id(), boot_id(), pid_namespace(), pid, start_time(pid) or "")


def lives(tag: str) -> bool | None:
    """Whether the process of a tag lives; None when it is, or was, on another machine."""
    machine, boot, pid, started = tag.split("-")
    own_machine, own_boot, *_ = own_tag().split("-")
    if machine != own_machine:
        return None
    return boot == own_boot and start_time(int(pid)) == started


@cache
def machine_id() -> str:
    """What tells machines of one name apart; empty where there is no such file."""
    return _read("/etc/machine-id")


@cache
def boot_id() -> str:
    """The machine's last start; empty where the kernel does not say."""
    return _read("/proc/sys/kernel/random/boot_id")


@cache
def pid_namespace() -> str:
    """In which process ids count; empty where the kernel does not say."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def start_time(pid: int) -> str | None:
    """When a process began, in ticks; None when there is no such process, or only its entry is left (a zombie)."""
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
