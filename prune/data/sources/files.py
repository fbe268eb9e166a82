"""Rows of files: JSON Lines, JSON, CSV, parquet and text, each also as .gz or .zst, with the place of each row.

A file is read whole, except parquet, which is mapped. A row's place is what a person looks for: a file and a line.
"""

import csv
import gzip
import io
import json
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from prune.data.dataset import Row
from prune.data.privacy import cause_of, quote_names
from prune.errors import UserError

PACKED = (".gz", ".zst")
FORMATS = (".jsonl", ".json", ".csv", ".parquet", ".txt")
ENDINGS = tuple(f"{ending}{packed}" for ending in FORMATS for packed in ("", *PACKED) if ending != ".parquet" or not packed)
TEXT_COLUMN = "text"
"""The column of a text file's rows."""

_POINTER = b"version https://git-lfs.github.com/spec/"


def ending_of(path: Path) -> str | None:
    """The ending that says how a file is read, as `.jsonl.gz`; None for a file of another kind."""
    name = path.name.lower()
    if name.endswith(".ndjson"):
        return ".jsonl"
    return next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if name.endswith(ending)), None)


def place_of(rows: Sequence[Any], index: int) -> str:
    """Where a row stands: its file and line where they are known, else its number."""
    place = getattr(rows, "place", None)
    return f"row {index} (the first is 0)" if place is None else str(place(index))


class PlacedRows(Sequence[Row]):
    """Rows in memory, each with its line."""

    def __init__(self, path: Path, word: str) -> None:
        self._path, self._word = path, word
        self._rows: list[Row] = []
        self._numbers = array("Q")

    def add(self, row: Row, number: int) -> None:
        """Add a row that stands in this line (or entry) of the file."""
        self._rows.append(row)
        self._numbers.append(number)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def place(self, index: int) -> str:
        """`FILE, line 12`."""
        return f"{self._path}, {self._word} {self._numbers[index]}"

    def column_names(self) -> Iterator[tuple[list[str], str]]:
        """The columns of the first row and of each row whose columns differ from the row before, with their places."""
        names: list[str] | None = None
        for index, row in enumerate(self._rows):
            if list(row) != names:
                names = list(row)
                yield names, self.place(index)


class ParquetRows(Sequence[Row]):
    """The rows of an Arrow table as dictionaries, made when they are read."""

    def __init__(self, table: Any, path: Path) -> None:
        self._table, self._path = table, path

    def column_names(self) -> Iterator[tuple[list[str], str]]:
        """The columns, with the file."""
        yield list(self._table.column_names), str(self._path)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} rows")
        return self._table.slice(index % len(self), 1).to_pylist()[0]

    def __iter__(self) -> Iterator[Row]:
        for batch in self._table.to_batches():
            yield from batch.to_pylist()

    def place(self, index: int) -> str:
        """`FILE, row 12 (the first is 0)`."""
        return f"{self._path}, row {index} (the first is 0)"


class Shards(Sequence[Row]):
    """The rows of several files, one after the other."""

    def __init__(self, parts: Sequence[PlacedRows | ParquetRows]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} rows")
        part, inside = self._find(index % len(self))
        return part[inside]

    def __iter__(self) -> Iterator[Row]:
        for part in self._parts:
            yield from part

    def place(self, index: int) -> str:
        """The file of a row, and its line there."""
        part, inside = self._find(index)
        return part.place(inside)

    def column_names(self) -> Iterator[tuple[list[str], str]]:
        """The columns that rows have, with the place of the first that has them."""
        for part in self._parts:
            yield from part.column_names()

    def _find(self, index: int) -> tuple[PlacedRows | ParquetRows, int]:
        number = bisect_right(self._ends, index)
        return self._parts[number], index - (self._ends[number - 1] if number else 0)


def read_files(paths: Sequence[Path]) -> Shards:
    """The rows of these files, in this order.

    Raises:
        UserError: one cannot be read, is a git-lfs pointer, or does not hold what its ending says; file and line are named.
    """
    several = len(paths) > 1
    return Shards([_read_file(path, several) for path in paths])


def _read_file(path: Path, is_one_of_several: bool) -> PlacedRows | ParquetRows:
    try:
        return _read(path, is_one_of_several)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}). Convert it, as with iconv.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read(path: Path, is_one_of_several: bool) -> PlacedRows | ParquetRows:
    _refuse_pointer(path)
    ending = ending_of(path)
    if ending is None:
        raise UserError(
            f"{path} has a format that cannot be read here. Rows are read from {', '.join(FORMATS)}, each also as .gz or "
            ".zst."
        )
    if ending == ".parquet":
        return _read_parquet(path)
    with _open(path) as stream, _whole_archive(path):
        if ending.startswith(".txt"):
            return _read_text(path, stream, is_one_of_several)
        if ending.startswith(".csv"):
            return _read_csv(path, stream)
        if ending.startswith(".jsonl"):
            return _read_lines(path, stream)
        return _read_json(path, stream)


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise UserError(
                f"{path} is a git-lfs pointer: it stands for the file and holds none of its rows. Fetch the file with "
                "`git lfs pull` in its repository, or download it anew."
            )


def _open(path: Path) -> BinaryIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix.lower() != ".zst":
        return path.open("rb")
    try:
        import zstandard
    except ImportError:
        raise UserError(f"{path}: reading it needs the package zstandard: pip install zstandard") from None
    return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(path.open("rb"), closefd=True))


@contextmanager
def _whole_archive(path: Path) -> Iterator[None]:
    """Turn what a broken or cut archive raises inside into a UserError about `path`."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is a broken or cut gzip file: {error}. Copy it again.") from error
    except Exception as error:
        if type(error).__name__ != "ZstdError":  # its package is loaded only where it is needed
            raise
        raise UserError(f"{path} is a broken or cut zstandard file: {error}. Copy it again.") from error


def _read_lines(path: Path, stream: BinaryIO) -> PlacedRows:
    rows = PlacedRows(path, "line")
    for number, line in _numbered(path, stream):
        rows.add(_parse(line, path, number), number)
    return rows


def _numbered(path: Path, stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of each line that is not blank."""
    number = 0
    try:
        for number, line in enumerate(stream, start=1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if not text.isspace():
                yield number, text
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, line {number}: this is not UTF-8 ({error.reason} at byte {error.start}).") from error


def _parse(text: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}, line {number}: this is not valid JSON ({error}). Each line must be one object."
        ) from cause_of(error)
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {number}: this is a JSON {type(row).__name__}. Each line must be one object.")
    return row


def _read_json(path: Path, stream: BinaryIO) -> PlacedRows:
    """An array of objects, or JSON Lines under this ending, as the hub's C4 has it."""
    content = stream.read().lstrip(b"\xef\xbb\xbf \t\r\n")
    if not content.startswith(b"["):
        return _read_lines(path, io.BytesIO(content))
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not valid JSON: {error}. It must be an array of objects, or one object per line."
        ) from cause_of(error)
    rows = PlacedRows(path, "entry")
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise UserError(f"{path}, entry {number} is a JSON {type(entry).__name__}. Each entry must be an object.")
        rows.add(entry, number)
    return rows


def _read_csv(path: Path, stream: BinaryIO) -> PlacedRows:
    rows = PlacedRows(path, "line")
    csv.field_size_limit(2**31 - 1)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    reader = csv.DictReader(text, strict=True)
    try:
        if len(reader.fieldnames or []) == 1 and {";", "\t"} & set("".join(reader.fieldnames or [])):
            raise UserError(f"{path}, line 1: its columns are not separated by commas. Save it with commas.")
        for row in reader:
            if None in row or None in row.values():
                raise UserError(
                    f"{path}, line {reader.line_num}: this row has {'more' if None in row else 'fewer'} fields than the "
                    f"{len(reader.fieldnames or [])} columns of the first line ({quote_names(reader.fieldnames or [])})."
                )
            rows.add(row, reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: this is not valid CSV: {error}.") from cause_of(error)
    finally:
        text.detach()  # whoever opened the stream closes it
    return rows


def _read_text(path: Path, stream: BinaryIO, is_one_of_several: bool) -> PlacedRows:
    """The lines of a text; of several texts, each is one row."""
    rows = PlacedRows(path, "line")
    if is_one_of_several:
        rows.add({TEXT_COLUMN: stream.read().decode("utf-8-sig")}, 1)
        return rows
    for number, line in _numbered(path, stream):
        rows.add({TEXT_COLUMN: line.rstrip("\r\n")}, number)
    return rows


def _read_parquet(path: Path) -> ParquetRows:
    import pyarrow
    import pyarrow.parquet

    try:
        return ParquetRows(pyarrow.parquet.read_table(path, memory_map=True), path)
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is not a readable parquet file: {str(error).splitlines()[0]}") from error
