"""Writing files whole or not at all, with messages for users when the disk does not take them; reading JSON.

What is written is a draft first, which names its writer: a process that is killed leaves it behind, and whoever writes into
the same folder later removes it.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from prune.errors import FOLDER_OPTION, DamagedFileError, NotWrittenError
from prune.process import lives, own_tag

CHECKSUM = "sha256"
"""The key of a file's own checksum."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
    *(errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.ESTALE),
)
_DRAFT = re.compile(r"\..*\.([0-9a-f]{8}-[^-.]*-\d+-[^-.]*)\.[0-9a-f]{8}\.draft")
"""A hidden name with the tag of its writer."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what a full or read-only disk raises inside into a UserError about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            advice = f"{_shortage(path, error)}, and run the same line again; what is finished is kept"
        elif error.errno in _REFUSED:
            advice = f"{error.strerror}. Choose a folder that can be written with {FOLDER_OPTION}"
        else:
            raise
        raise NotWrittenError(f"{path} could not be written: {advice}.") from error


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """A name beside `path` for what is renamed to it once it is whole; what it names at the end is removed."""
    remove_drafts(path.parent)
    place = path.parent / f".{path.name[:60]}.{own_tag()}.{uuid.uuid4().hex[:8]}.draft"
    try:
        yield place
    finally:
        _remove(place)


def remove_drafts(folder: Path, dead: str | None = None) -> None:
    """Remove the drafts in `folder` whose writers are dead, and those of the tag `dead`, which may be another machine's."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            found = _DRAFT.fullmatch(path.name)
            if found and (found.group(1) == dead or lives(found.group(1)) is False):
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and the disk allows it."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _shortage(path: Path, error: OSError) -> str:
    """What the disk of `path` has too little of, and what to do about it."""
    if error.errno == errno.EDQUOT:
        return f"your quota on this disk is used up. Remove files of yours, or choose another disk with {FOLDER_OPTION}"
    if error.errno == errno.EFBIG:
        return f"the file is larger than the disk or ulimit -f allows. Choose another disk with {FOLDER_OPTION}"
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
    try:
        disk = os.statvfs(folder)
    except OSError:
        disk = None
    if disk is not None and disk.f_files and not disk.f_favail and disk.f_bavail:
        return "the disk holds as many files as it can, though it has space. Remove some files"
    return "the disk is full. Free some space"


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a draft of `path`, then rename it to `path`; on any failure nothing is left behind."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft(path) as place:
            with place.open("xb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            place.replace(path)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data`, whole or not at all."""
    write_whole(path, lambda stream: stream.write(data))


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_checked_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object with its own checksum under `sha256`; `read_checked_json` reads it."""
    plain = json.loads(json.dumps(value))
    write_json(path, {**plain, CHECKSUM: checksum(plain)})


def checksum(value: Mapping[str, Any]) -> str:
    """The SHA-256 of an object without its key `sha256`, as sorted, compact JSON in ASCII."""
    plain = {key: entry for key, entry in value.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` put files into a draft of the folder `path`, then rename it to `path`, in place of what is there."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft(path) as place:
            place.mkdir()
            fill(place)
            for file in place.iterdir():
                file.chmod(0o666 & ~_umask())
            shutil.rmtree(path, ignore_errors=True)
            place.replace(path)


def parse_json(data: bytes) -> Any:
    """The value that json.loads makes of `data`, four times as fast; only integers beyond 64 bits become floats.

    orjson takes nothing but JSON proper: NaN, infinities and the words for what is damaged are left to json.

    Raises:
        ValueError: it is no JSON.
    """
    import orjson  # not above: the engine runs where there is none

    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _parse_by_json(data)


def _parse_by_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path, needed: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any] | None:
    """The object in `path`; None when there is no such file.

    Args:
        needed: key -> the type that its value must have, as isinstance takes it.

    Raises:
        DamagedFileError: the file is not a JSON object, or lacks what is needed.
    """
    try:
        value = _parse_by_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(path, str(error)) from None
    if not isinstance(value, dict):
        raise DamagedFileError(path, "not a JSON object")
    for key, kind in needed.items():
        if not isinstance(value.get(key, ...), kind):
            raise DamagedFileError(path, f"{key} is missing or of the wrong kind")
    return value


def read_checked_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`, without its checksum; None when there is no such file.

    Raises:
        DamagedFileError: the file is not a JSON object, or not the one that `write_checked_json` wrote.
    """
    value = read_json(path)
    if value is None:
        return None
    if value.pop(CHECKSUM, None) != checksum(value):
        raise DamagedFileError(path, f"its {CHECKSUM} does not fit what it holds")
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def now() -> str:
    """The time as ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
