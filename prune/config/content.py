"""The content of files by hash: read once, and remembered as long as the files stay as they were.

A hash is SHA-256 over the SHA-256 of each 64 MiB, so that cores share a file. It is remembered by the file's path, size,
inode, and the times of its last writing and last change, the latter of which nobody can set: in PRUNE_CACHE_DIR, else in
`prune` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache), a small file for each, written whole. A file that changed
less than two seconds ago is not remembered, since it may change again without another time.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from prune.errors import UserError
from prune.files import read_checked_json, write_checked_json

PIECE = 64 << 20
"""Bytes that are hashed by one thread."""
SETTLED_S = 2.0
"""Two changes of a file that are this far apart have different times on every file system."""

T = TypeVar("T")

_look: ContextVar[dict[Any, Any] | None] = ContextVar("look", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """Inside, what was looked up once is not looked up again: a line sees its files as they are at one time."""
    token = _look.set({})
    try:
        yield
    finally:
        _look.reset(token)


def look_again() -> None:
    """Forget what was looked up, as files have come since."""
    seen = _look.get()
    if seen is not None:
        seen.clear()


def looked_up(key: Any, find: Callable[[], T]) -> T:
    """What `find` returns; inside `one_look` it is called once for each key."""
    seen = _look.get()
    if seen is None:
        return find()
    if key not in seen:
        seen[key] = find()
    found: T = seen[key]
    return found


def files_sha256(files: Mapping[str, Path]) -> str:
    """SHA-256 over names and contents of some files, whatever folder they lie in; names count in sorted order.

    Raises:
        UserError: one cannot be read.
    """
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\n{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """The hash of a file's content.

    Raises:
        UserError: it cannot be read.
    """
    try:
        real = path.resolve(strict=True)
        stamp = _stamp(real)
        kept = _kept_at(real)
        if (known := _remembered(kept)) is not None and known["stamp"] == stamp:
            return str(known["content"])
        content = _hash(real, stamp["size"])
        if _stamp(real) != stamp:
            raise UserError(f"{path} is being written. Wait until it is whole, and run the same line again.")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    if time.time_ns() - max(stamp["changed_ns"], stamp["written_ns"]) > SETTLED_S * 1e9:
        with suppress(UserError, OSError):  # a memory that cannot be kept costs time, and nothing else
            write_checked_json(kept, {"path": str(real), "stamp": stamp, "content": content})
    return content


def cache_folder() -> Path:
    """The user's folder for files that can be made again."""
    if named := os.environ.get("PRUNE_CACHE_DIR"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "prune"


def _kept_at(real: Path) -> Path:
    return cache_folder() / "content" / f"{hashlib.sha256(os.fsencode(real)).hexdigest()[:32]}.json"


def _remembered(kept: Path) -> dict[str, Any] | None:
    """What is remembered of a file; None when nothing is, or that is damaged."""
    with suppress(UserError, OSError):
        known = read_checked_json(kept)
        return known if known is not None and {"stamp", "content"} <= known.keys() else None
    return None


def _stamp(real: Path) -> dict[str, int]:
    """What differs once the file has changed."""
    found = real.stat()
    return {
        "size": found.st_size,
        "inode": found.st_ino,
        "written_ns": found.st_mtime_ns,
        "changed_ns": found.st_ctime_ns,
    }


def _hash(real: Path, size: int) -> str:
    """SHA-256 over the hashes of the pieces."""
    starts = range(0, max(size, 1), PIECE)
    if len(starts) == 1:
        pieces = [_hash_piece(real, 0)]
    else:
        with ThreadPoolExecutor(min(len(starts), len(os.sched_getaffinity(0)))) as pool:
            pieces = list(pool.map(lambda start: _hash_piece(real, start), starts))
    return hashlib.sha256(b"".join(pieces)).hexdigest()


def _hash_piece(real: Path, start: int) -> bytes:
    digest, left, view = hashlib.sha256(), PIECE, memoryview(bytearray(1 << 20))
    with real.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (count := file.readinto(view[: min(left, len(view))])):
            digest.update(view[:count])
            left -= count
    return digest.digest()
