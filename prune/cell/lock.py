"""Who works on a folder: claims that hold between processes and machines, and end with their holder.

A claim is a file `.claim-N` with a record of its holder; the file with the highest N counts. It is taken by making the next
file, which succeeds for one process only, also on network file systems without locks (a hard link appears whole or not at
all). It is given back by emptying the file. When its holder is dead, the next one makes N + 1: whoever is faster has it. Age
plays no part: the holder's process, machine and job are looked up.
"""

import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from prune.cell.holder import Holder, is_alive, this_process
from prune.errors import UserError
from prune.files import disk_errors

_TRIES = 600
_PAUSE_S = 0.1


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
    except (ValueError, TypeError, RecursionError) as error:
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
