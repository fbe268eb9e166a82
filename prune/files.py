"""Writing files whole or not at all, with messages for people when the disk does not take them; reading JSON."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from prune.errors import UserError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what a full or read-only disk raises inside into a UserError about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            advice = "the disk is full. Free some space and run the same line again; what is finished is kept"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            advice = f"{error.strerror}. Choose a folder that can be written with output_dir=FOLDER"
        else:
            raise
        raise UserError(f"{path} could not be written: {advice}.") from error


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it to `path`; on any failure nothing is left behind."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data`, whole or not at all."""
    write_whole(path, lambda stream: stream.write(data))


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` put files into a temporary folder beside `path`, then rename it to `path`, in place of what is there."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            fill(folder)
            folder.chmod(0o777 & ~_umask())
            for file in folder.iterdir():
                file.chmod(0o666 & ~_umask())
            shutil.rmtree(path, ignore_errors=True)
            folder.replace(path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


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


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`; None when there is no such file.

    Raises:
        UserError: the file is not a JSON object.
    """
    try:
        value = _parse_by_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}). Remove it and run the same line again.") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (not a JSON object). Remove it and run the same line again.")
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def now() -> str:
    """The time as ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
