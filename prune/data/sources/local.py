"""Rows from files: DIR/<set>/<split>.jsonl, .jsonl.gz or .parquet, with the column names of the hub's copy."""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from prune.data.dataset import Row, RowSet
from prune.data.sources.rows import Mapped, Table, Wanted, missing_columns, our_columns, read_rows, rename
from prune.errors import UserError

ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")


class LocalSource:
    """The sets in one folder."""

    name = "local"

    def __init__(self, root: Path) -> None:
        self.root = root

    def rows(self, dataset: RowSet, split: str) -> Sequence[Row]:
        """All rows of <root>/<set>/<split>; see `Source.rows`."""
        return read_rows(dataset, split, self._read)

    def _read(self, wanted: Wanted) -> Table:
        path = _find_file(self.root, wanted)
        try:
            table = _read_parquet(path, wanted) if path.suffix == ".parquet" else _read_jsonl(path, wanted)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
        if not table.rows:
            raise UserError(f"{path} is empty: {wanted.name}/{wanted.split} needs at least one row.")
        return table


def open_local(root: str) -> LocalSource:
    """The sets under `root`.

    Raises:
        UserError: there is no such folder.
    """
    folder = Path(root).expanduser()
    if not folder.exists():
        raise UserError(f"data.root={root} does not exist. It must be a folder with <set>/<split>{_one_of(ENDINGS)}.")
    if not folder.is_dir():
        raise UserError(f"data.root={root} is a file. It must be the folder above <set>/<split>{_one_of(ENDINGS)}.")
    return LocalSource(folder)


def _find_file(root: Path, wanted: Wanted) -> Path:
    folder = root / wanted.name
    splits = split_files(folder)
    if not splits:
        there = sorted(path.name for path in root.iterdir() if split_files(path)) if root.is_dir() else []
        what = "has no data file" if folder.is_dir() else "does not exist"
        raise UserError(
            f"data=local: the folder {folder} {what}. Put {wanted.split}{_one_of(ENDINGS)} into it; "
            f"sets that are there: {', '.join(there) or 'none'}."
        )
    files = splits.get(wanted.split, [])
    if len(files) > 1:
        names = " and ".join(path.name for path in files)
        raise UserError(f"data=local: {folder} has {names}, two forms of one split. Keep one of them.")
    if not files:
        raise UserError(
            f"data=local: {folder} has no {wanted.split}{_one_of(ENDINGS)}. Splits that are there: {', '.join(splits)}."
        )
    return files[0]


def split_files(folder: Path) -> dict[str, list[Path]]:
    """Split name -> its files in a set's folder, in alphabetical order; empty when there is no such folder."""
    splits: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
        if ending and path.is_file():
            splits.setdefault(path.name.removesuffix(ending), []).append(path)
    return splits


def _one_of(endings: Sequence[str]) -> str:
    return f"{{{','.join(endings)}}}"


def _read_jsonl(path: Path, wanted: Wanted) -> Table:
    rows: list[Row] = []
    columns: list[str] | None = None
    for number, text in _lines(path):
        row = _parse(text, path, number)
        if list(row) != columns:
            columns = list(row)
            problem = missing_columns(wanted, columns)
            if problem:
                raise UserError(f"{path}, line {number}: {problem}.")
        rows.append(rename(row, wanted.aliases))
    return Table(rows=rows, columns=frozenset(rows[0]) if rows else frozenset())


def _parse(text: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}, line {number}: this is not valid JSON ({error}). Each line must be one object.") from error
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {number}: this is a JSON {type(row).__name__}. Each line must be one object.")
    return row


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of each line that is not blank."""
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if not text.isspace():
                    yield number, text
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, line {number}: this is not UTF-8 ({error.reason} at byte {error.start}).") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is a broken or cut gzip file, after line {number}: {error}. Copy it again.") from error


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _read_parquet(path: Path, wanted: Wanted) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, memory_map=True)
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} is not a readable parquet file: {str(error).splitlines()[0]}") from error
    problem = missing_columns(wanted, table.column_names)
    if problem:
        raise UserError(f"{path}: {problem}.")
    rows: Sequence[Row] = _ParquetRows(table)
    if wanted.aliases:
        rows = Mapped[Row, Row](rows, lambda _, row: rename(row, wanted.aliases))
    return Table(rows=rows, columns=our_columns(table.column_names, wanted.aliases))


class _ParquetRows(Sequence[Row]):
    """The rows of an Arrow table as dictionaries, made when they are read."""

    def __init__(self, table: Any) -> None:
        self._table = table

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
