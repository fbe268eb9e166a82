"""Who computes on a device of this machine: cells share it, and what is timed has it alone.

Each cell holds a lock of the kind that many may hold, as long as it works; a measurement changes it for one that only one
may hold, and so waits until no other cell of this user is at work there, says so in the cell's log, and goes on beside them
after LONGEST_WAIT_S. Other programs are not seen. Where no lock can be made (no folder for temporary files) nothing waits.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prune.lazy import torch

log = logging.getLogger("prune")

LONGEST_WAIT_S = 300.0
PAUSE_S = 0.2
"""Between two tries to have a device alone."""

_held: dict[str, int] = {}
"""Device -> the open lock of this process."""


@contextmanager
def shared_device(device: str) -> Iterator[None]:
    """Inside, others may compute on the device, and none has it alone."""
    name = device_id(device)
    try:
        opened = _open(name)
    except OSError:
        yield
        return
    try:
        fcntl.flock(opened, fcntl.LOCK_SH)
        _held[name] = opened
        yield
    finally:
        _held.pop(name, None)
        os.close(opened)


@contextmanager
def device_alone(device: str) -> Iterator[bool]:
    """Inside a cell, have its device alone; False where that cannot be told, or others did not end in time."""
    opened = _held.get(device_id(device))
    if opened is None:
        yield False
        return
    try:
        yield _wait_alone(opened, device)
    finally:
        fcntl.flock(opened, fcntl.LOCK_SH)


def _wait_alone(opened: int, device: str) -> bool:
    """Whether this process has the lock alone."""
    fcntl.flock(opened, fcntl.LOCK_UN)  # two that wait do not wait for each other
    end, is_told = time.monotonic() + LONGEST_WAIT_S, False
    while True:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                log.info("other cells still compute on %s: this one is timed beside them", device)
                return False
        if not is_told:
            log.info("waits for up to %.0f s until no other cell computes on %s", LONGEST_WAIT_S, device)
        is_told = True
        time.sleep(PAUSE_S)


def device_id(device: str) -> str:
    """`cpu`, or the UUID of the GPU that this process computes on."""
    if not device.startswith("cuda"):
        return "cpu"
    return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"


def _open(name: str) -> int:
    path = Path(tempfile.gettempdir()) / f"prune-{os.getuid()}-{name}.lock"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
