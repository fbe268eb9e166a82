"""Where rows come from: generated sample, the hub, or local files. One function opens a source; two turn rows into use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from prune.config.data import DataConfig, DataSource
from prune.data.dataset import Example, QuestionSet, Row, RowSet, TextSet
from prune.data.sources.rows import Mapped, Table, Wanted, missing_columns, our_columns, read_rows, rename
from prune.errors import UserError

T = TypeVar("T")


class Source(Protocol):
    """A place that has the rows of datasets."""

    @property
    def name(self) -> str:
        """`sample`, `hub` or `local`."""

    def rows(self, dataset: RowSet, split: str) -> Sequence[Row]:
        """All rows of a split under the hub's column names; the row id is the index.

        Raises:
            UserError: there are none, a column is missing, or the rows cannot be read.
        """


class SampleSource:
    """Rows that are generated, the same every time. They are for trying the program out, not for research."""

    name = "sample"

    def rows(self, dataset: RowSet, split: str) -> Sequence[Row]:
        """All generated rows of a split; see `Source.rows`."""
        return read_rows(dataset, split, _read_sample)


def _read_sample(wanted: Wanted) -> Table:
    from prune.data.sources.sample import sample_rows

    rows = sample_rows(wanted.name, wanted.split)
    columns = list(rows[0]) if rows else []
    problem = missing_columns(wanted, columns)
    if problem:
        raise UserError(f"data=sample, {wanted.name}/{wanted.split}: {problem}.")
    renamed = Mapped[Row, Row](rows, lambda _, row: rename(row, wanted.aliases))
    return Table(rows=renamed if wanted.aliases else rows, columns=our_columns(columns, wanted.aliases))


def open_source(config: DataConfig) -> Source:
    """The source that the configuration names; nothing is read yet.

    Raises:
        UserError: data.root is missing or no folder (data=local).
    """
    if config.name is DataSource.sample:
        return SampleSource()
    if config.name is DataSource.hub:
        from prune.data.sources.hub import HubSource

        return HubSource()
    from prune.data.sources.local import open_local

    assert config.root, "DataConfig checks this"
    return open_local(config.root)


def texts(source: Source, dataset: TextSet, split: str) -> Sequence[str]:
    """The documents of a split, one a row, read when asked for."""
    return _convert(source, dataset, split, dataset.text)


def examples(source: Source, dataset: QuestionSet, split: str) -> Sequence[Example]:
    """The questions of a split, one a row, read when asked for.

    Raises:
        UserError: when a row is read that cannot be used (no label, say); it names the row.
    """
    return _convert(source, dataset, split, dataset.example)


def _convert(source: Source, dataset: TextSet | QuestionSet, split: str, convert: Callable[[Row], T]) -> Sequence[T]:
    place = f"data={source.name}, {dataset.name}/{split}"

    def checked(index: int, row: Row) -> T:
        try:
            return convert(row)
        except UserError as error:
            raise UserError(f"{place}, row {index} (the first is 0): {error}.") from error
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(
                f"{place}, row {index} (the first is 0) has not the form of the hub's rows: {reason}."
            ) from error

    return Mapped(source.rows(dataset, split), checked)


class ReadOnce:
    """A source that keeps the splits it has read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._splits: dict[tuple[str, bool, str], Sequence[Row]] = {}

    @property
    def name(self) -> str:
        """The name of the source behind."""
        return self._source.name

    def rows(self, dataset: RowSet, split: str) -> Sequence[Row]:
        """All rows of a split; see `Source.rows`."""
        has_companion = isinstance(dataset, QuestionSet) and dataset.companion is not None  # its columns are joined then
        key = dataset.name, has_companion, split
        if key not in self._splits:
            self._splits[key] = self._source.rows(dataset, split)
        return self._splits[key]
