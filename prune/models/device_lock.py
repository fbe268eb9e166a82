"""Who computes on a device of this machine: cells share it, and what is timed has it alone.

Each cell holds a lock of the kind that many may hold, as long as it works; a measurement changes it for one that only one
may hold, and so waits until no other cell of this user is at work there. Other programs are not seen. Where no lock can be
made (no folder for temporary files) nothing waits.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prune.lazy import torch

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
    """Inside a cell, have its device alone; False where that cannot be told."""
    opened = _held.get(device_id(device))
    if opened is None:
        yield False
        return
    fcntl.flock(opened, fcntl.LOCK_EX)  # gives up the other lock first, so that two that wait do not wait for each other
    try:
        yield True
    finally:
        fcntl.flock(opened, fcntl.LOCK_SH)


def device_id(device: str) -> str:
    """`cpu`, or the UUID of the GPU that this process computes on."""
    if not device.startswith("cuda"):
        return "cpu"
    return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"


def _open(name: str) -> int:
    path = Path(tempfile.gettempdir()) / f"prune-{os.getuid()}-{name}.lock"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
