"""Who works on a folder: claims that hold between processes and machines, and end with their holder.

A claim is a file `.claim-N` with a record of its holder; the file with the highest N counts. It is taken by making the next
file, which succeeds for one process only, also on network file systems without locks (a hard link appears whole or not at
all). It is given back by emptying the file. When its holder is dead, the next one makes N + 1: whoever is faster has it. Age
plays no part: the holder's process, machine and job are looked up. Who cannot be looked up from here is not dead: another
user's job may be hidden, another cluster's queue is not ours.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from prune.cell.holder import Holder, is_alive, this_process
from prune.errors import DamagedFileError, UserError
from prune.files import disk_errors, draft, remove_drafts

_TRIES = 600
_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Held:
    """A claim whose holder lives, or cannot be looked up from here."""

    holder: Holder
    path: Path
    is_certain: bool
    """Whether the holder is known to live."""

    def describe(self) -> str:
        """`held by process 12 on ...`, and what to do when nobody here can tell whether that lives."""
        advice = "" if self.is_certain else f" (it cannot be checked from here; if it is gone, remove {self.path})"
        return f"held by {self.holder.describe()}{advice}"


class CellHeldError(Exception):
    """Another process has the claim, and it is alive or cannot be checked from here."""

    def __init__(self, held: Held) -> None:
        self.held = held
        super().__init__(held.describe())


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
        _give_back(path)


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
        _give_back(path)


def find_holder(folder: Path) -> Holder | None:
    """The process that works on `folder`; None when nobody does, or it is known to be dead."""
    held = find_held(folder)
    return None if held is None else held.holder


def find_held(folder: Path) -> Held | None:
    """The claim of the process that works on `folder`; None when nobody does, or it is known to be dead.

    Raises:
        UserError: the claim is damaged.
    """
    latest = _latest(folder)
    if latest is None:
        return None
    number, holder = latest
    if holder is None:
        return None
    alive = is_alive(holder)
    return None if alive is False else Held(holder, folder / f".claim-{number}", alive is True)


def tidy(folder: Path) -> None:
    """Give back the claim of a killed process on `folder`, and remove its drafts, without a claim of our own."""
    with suppress(OSError, UserError):
        remove_drafts(folder)
        latest = _latest(folder)
        if latest is not None and latest[1] is not None and is_alive(latest[1]) is False:
            _tidy_after(folder, latest[1])
            _give_back(folder / f".claim-{latest[0]}")


def _take(folder: Path) -> Path:
    with disk_errors(folder):
        for _ in range(_TRIES):
            folder.mkdir(parents=True, exist_ok=True)
            number, dead = _next_number(folder)
            path = folder / f".claim-{number}"
            with suppress(FileNotFoundError), draft(folder / ".claim") as place:  # the folder may be moved away meanwhile
                place.write_text(json.dumps(asdict(this_process())))
                if _link(place, path):
                    if max(_numbers(folder), default=None) == number:
                        _forget(folder, number - 1)
                        _tidy_after(folder, dead)
                        return path
                    path.unlink(missing_ok=True)  # made from a stale look; its successor may have removed it
            time.sleep(_PAUSE_S)
    raise UserError(
        f"{folder} could not be claimed: its files {folder}/.claim-* keep changing, or this machine does not see them."
    )


def _give_back(path: Path) -> None:
    """Empty a claim; where the disk does not allow it, or the folder was moved away, it ends with this process."""
    with suppress(OSError):
        os.truncate(path, 0)


def _tidy_after(folder: Path, dead: Holder | None) -> None:
    """Remove the drafts of the holder whose place we took."""
    if dead is not None:
        for each in (folder, *(path for path in folder.iterdir() if path.is_dir())):
            remove_drafts(each, dead.tag)


def _link(draft: Path, path: Path) -> bool:
    """Make `path` with the content of `draft`; False when another process was faster."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    return True


def _next_number(folder: Path) -> tuple[int, Holder | None]:
    """(the number of the next claim, the dead holder of the latest or None).

    Raises:
        CellHeldError: the latest is held.
    """
    latest = _latest(folder)
    if latest is None:
        return 0, None
    number, holder = latest
    if holder is not None and (alive := is_alive(holder)) is not False:
        raise CellHeldError(Held(holder, folder / f".claim-{number}", is_certain=alive is True))
    return number + 1, holder


def _latest(folder: Path) -> tuple[int, Holder | None] | None:
    """(number of the latest claim, its holder or None when it was given back); None when there never was one."""
    numbers = _numbers(folder)
    if not numbers:
        return None
    number = max(numbers)
    path = folder / f".claim-{number}"
    try:
        text = path.read_text()
        return number, _parse(text) if text else None
    except FileNotFoundError:  # forgotten meanwhile, for a later one
        return _latest(folder)
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedFileError(path, str(error)) from None


def _parse(text: str) -> Holder:
    """The holder that a claim records.

    Raises:
        ValueError, TypeError: it is none.
    """
    holder = Holder(**json.loads(text))
    for field in fields(Holder):
        if not isinstance(getattr(holder, field.name), field.type):  # type: ignore[arg-type]  # no annotation is a text
            raise TypeError(f"{field.name} is {getattr(holder, field.name)!r}")
    return holder


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
