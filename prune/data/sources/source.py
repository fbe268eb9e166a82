"""Where rows come from: generated sample, the hub, or local files. One function opens a source; two turn rows into texts
and examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeVar

from prune.config.data import DataConfig, DataSource
from prune.config.own import OwnSetConfig
from prune.data.dataset import Example, QuestionSet, Row, RowSet, TextSet
from prune.data.privacy import cause_of, reason_of
from prune.data.sources.files import place_of
from prune.data.sources.own import read_own
from prune.data.sources.rows import Mapped, Table, Wanted, missing_columns, our_columns, read_rows, rename
from prune.errors import UserError

T = TypeVar("T", str, Example)


class BadRowError(UserError):
    """A row that cannot be used, by its place."""


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
    """The documents of a split, one per row, read when asked for."""
    return _convert(source, dataset, split, dataset.text)


def examples(source: Source, dataset: QuestionSet, split: str) -> Sequence[Example]:
    """The questions of a split, one per row, read when asked for.

    Raises:
        UserError: when a row is read that cannot be used (no label, say); it names the row.
    """
    return _convert(source, dataset, split, dataset.example)


def _convert(source: Source, dataset: TextSet | QuestionSet, split: str, convert: Callable[[Row], T]) -> Sequence[T]:
    rows = source.rows(dataset, split)
    where = dataset.name if dataset.own is not None else f"data={source.name}, {dataset.name}/{split}"

    def checked(index: int, row: Row) -> T:
        try:
            value = convert(row)
            check_unicode(value)
            return value
        except UserError as error:
            raise BadRowError(f"{where}, {place_of(rows, index)}: {error}.") from cause_of(error)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            reason = reason_of(error)
            form = (
                "does not have the expected form" if dataset.own is not None else "does not have the form of the hub's rows"
            )
            raise BadRowError(f"{where}, {place_of(rows, index)}: it {form}: {reason}.") from cause_of(error)

    return Mapped(rows, checked)


def check_unicode(value: str | Example) -> None:
    """Refuse half a surrogate pair, which no tokenizer takes: a character that another program cut in the middle.

    Raises:
        UserError: there is one.
    """
    parts = (value,) if isinstance(value, str) else (value.question, value.answer, value.rationale or "", *value.choices)
    for part in parts:
        try:
            part.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"character {error.start} is half of a surrogate pair and not valid text: another program cut a character "
                "in two"
            ) from None


class ReadOnce:
    """A source that keeps the splits it has read, and has the user's own sets, wherever rows of the others come from."""

    def __init__(self, source: Source, sets: Mapping[str, OwnSetConfig] = MappingProxyType({})) -> None:
        self._source = source
        self.sets = sets
        """The definitions of the user's own sets, by name."""
        self._splits: dict[tuple[str, bool, str], Sequence[Row]] = {}

    @property
    def name(self) -> str:
        """The name of the source behind."""
        return self._source.name

    def rows(self, dataset: RowSet, split: str) -> Sequence[Row]:
        """All rows of a split; see `Source.rows`."""
        has_companion = isinstance(dataset, QuestionSet) and dataset.companion is not None  # its columns are joined then
        key = dataset.name if dataset.own is None else repr(dataset.own), has_companion, split
        if key not in self._splits:
            own = dataset.own
            self._splits[key] = self._source.rows(dataset, split) if own is None else read_own(own, split)
        return self._splits[key]
