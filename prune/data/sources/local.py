"""Rows from files: DIR/<set>/<split>.jsonl (or another form, or shards), with the column names of the hub's copy."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from prune.data.dataset import Row, RowSet
from prune.data.sources.files import FORMATS, Shards, ending_of
from prune.data.sources.layout import check_forms, check_shards, is_split_name, split_files
from prune.data.sources.rows import Mapped, Table, Wanted, missing_columns, our_columns, read_rows, rename
from prune.data.sources.saved import SavedRows, read_tables
from prune.errors import UserError

_TABLES = [form for form in FORMATS if form != ".txt"]
FORMS = f"<set>/<split> as {', '.join(_TABLES)} (each also .gz or .zst), as shards, or as save_to_disk writes it"


class LocalSource:
    """The sets in one folder."""

    name = "local"

    def __init__(self, root: Path) -> None:
        self.root = root

    def rows(self, dataset: RowSet, split: str) -> Sequence[Row]:
        """All rows of <root>/<set>/<split>; see `Source.rows`."""
        return read_rows(dataset, split, self._read)

    def _read(self, wanted: Wanted) -> Table:
        return checked_table(read_tables(find_split(self.root, wanted)), wanted)


def open_local(root: str) -> LocalSource:
    """The sets under `root`.

    Raises:
        UserError: there is no such folder.
    """
    folder = Path(root).expanduser()
    if not folder.exists():
        raise UserError(f"data.root={root} does not exist. It must be a folder with {FORMS}.")
    if not folder.is_dir():
        raise UserError(f"data.root={root} is a file. It must be the folder above {FORMS}.")
    return LocalSource(folder)


def checked_table(rows: Shards | SavedRows, wanted: Wanted) -> Table:
    """The rows under our column names.

    Raises:
        UserError: a row lacks a column; file and line are named.
    """
    first: frozenset[str] | None = None
    for columns, place in rows.column_names():
        problem = missing_columns(wanted, columns)
        if problem:
            raise UserError(f"{place}: {problem}.")
        first = first or our_columns(columns, wanted.aliases)
    renamed = Mapped[Row, Row](rows, lambda _, row: rename(row, wanted.aliases)) if wanted.aliases else rows
    return Table(rows=renamed, columns=first or frozenset())


def find_split(root: Path, wanted: Wanted) -> list[Path]:
    """The files of a split of a set under `root`, or the one folder that save_to_disk wrote.

    Raises:
        UserError: there are none, they are not all there, or the split stands in two forms.
    """
    folder = root / wanted.name
    splits = split_files(folder)
    if not splits:
        there = sorted(path.name for path in root.iterdir() if split_files(path)) if root.is_dir() else []
        what = f"holds no data file; there is: {_names(folder)}" if folder.is_dir() else "does not exist"
        raise UserError(
            f"data=local: the folder {folder} {what}. Put {wanted.split}.jsonl (or {', '.join(_TABLES[1:])}) into it; "
            f"sets that are there: {', '.join(there) or 'none'}."
        )
    files = splits.get(wanted.split, [])
    if not files:
        others = f"those that are there: {', '.join(splits)}.{_rename(wanted, splits)}"
        raise UserError(f"data=local: {folder} has no split {wanted.split}; {others}")
    check_forms(files)
    check_shards(files)
    return files


def _rename(wanted: Wanted, splits: Mapping[str, Sequence[Path]]) -> str:
    """The line that renames a file whose name is not that of a split; empty where there is none."""
    others = [files[0] for name, files in splits.items() if not is_split_name(name)]
    if not others:
        return ""
    renamed = others[0].parent / f"{wanted.split}{ending_of(others[0]) or ''}"
    return f" If it has another name there, rename the file, as in: mv {others[0]} {renamed}"


def _names(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"
