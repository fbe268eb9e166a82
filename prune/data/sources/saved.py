"""Rows of a folder that `Dataset.save_to_disk` wrote."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prune.data.dataset import Row
from prune.data.sources.files import Shards, read_files
from prune.data.sources.layout import is_saved
from prune.errors import UserError


class SavedRows(Sequence[Row]):
    """The rows of a saved dataset, read when asked for."""

    def __init__(self, data: Any, folder: Path) -> None:
        self._data, self._folder = data, folder

    def column_names(self) -> Iterator[tuple[list[str], str]]:
        """The columns, with the folder."""
        yield list(self._data.column_names), str(self._folder)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._data[i] for i in range(*index.indices(len(self)))]
        return self._data[index]

    def place(self, index: int) -> str:
        """`FOLDER, row 12 (the first is 0)`."""
        return f"{self._folder}, row {index} (the first is 0)"


def read_tables(files: Sequence[Path]) -> Shards | SavedRows:
    """The rows of files, in this order, or of the one folder that `save_to_disk` wrote.

    Raises:
        UserError: they cannot be read, or there are none.
    """
    rows = read_saved(files[0]) if is_saved(files[0]) else read_files(files)
    if not len(rows):
        raise UserError(f"{files[0]} is empty: a set needs at least one row.")
    return rows


def read_saved(folder: Path) -> SavedRows:
    """The rows that `save_to_disk` wrote into `folder`.

    Raises:
        UserError: they cannot be read.
    """
    import datasets

    try:
        data = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder} cannot be read as a folder of save_to_disk: {reason}. Save it again.") from error
    return SavedRows(data, folder)
