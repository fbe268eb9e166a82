"""Rows that are read when asked for: a table with its columns checked, renamed columns, a joined companion."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from prune.data.dataset import Companion, Hub, QuestionSet, Row, RowSet
from prune.data.privacy import quote_names
from prune.data.sources.files import place_of
from prune.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is asked of a source: one split of one set, and the columns that its rows must have."""

    name: str
    """Of the set, or of a companion: the folder of local data."""
    split: str
    hub: Hub | None
    hub_note: str
    columns: tuple[str, ...]
    aliases: Mapping[str, str]
    """Other copies' name for a column -> ours."""
    is_own: bool = False
    """Whether it is a set of the user's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """All rows of a split with their column names, under our names."""

    rows: Sequence[Row]
    columns: frozenset[str]


S = TypeVar("S")
T = TypeVar("T")


class Mapped(Sequence[T], Generic[S, T]):
    """Each item of a sequence converted when it is read; `convert` also gets its index."""

    def __init__(self, items: Sequence[S], convert: Callable[[int, S], T]) -> None:
        self._items = items
        self._convert = convert

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = operator.index(index)
        position += len(self) if position < 0 else 0
        if not 0 <= position < len(self):
            raise IndexError(f"index {index} of {len(self)} items")
        return self._convert(position, self._items[position])

    def __iter__(self) -> Iterator[T]:
        for index, item in enumerate(self._items):
            yield self._convert(index, item)

    def place(self, index: int) -> str:
        """Where the item comes from."""
        return place_of(self._items, index)


class InTurn(Sequence[Row]):
    """Rows of the first half and of the second, in turn: 0, h, 1, h + 1, and so on, where the first half has h rows."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._rows[self._row(index)]

    def place(self, index: int) -> str:
        """Where the row comes from."""
        return place_of(self._rows, self._row(index))

    def _row(self, index: int) -> int:
        """The row that stands at `index`."""
        position = range(len(self))[index]
        return position // 2 + position % 2 * ((len(self) + 1) // 2)


def read_rows(dataset: RowSet, split: str, read: Callable[[Wanted], Table]) -> Sequence[Row]:
    """The rows of a split, with the columns of the set's companion joined on its key; the row id is the index.

    Rows that carry the companion's columns already are not joined. A row without a partner gets None in these columns.
    """
    table = read(
        Wanted(
            name=dataset.name,
            split=split,
            hub=dataset.hub,
            hub_note=dataset.hub_note,
            columns=dataset.columns,
            aliases=dataset.aliases,
        )
    )
    if isinstance(dataset, QuestionSet) and dataset.rows_are_sorted:
        return InTurn(table.rows)
    companion = dataset.companion if isinstance(dataset, QuestionSet) else None
    if companion is None or table.columns.issuperset(companion.columns):
        return table.rows
    return _join(table.rows, companion, _read_companion(dataset.name, companion, split, read))


def _read_companion(name: str, companion: Companion, split: str, read: Callable[[Wanted], Table]) -> Table:
    try:
        return read(
            Wanted(
                name=companion.name,
                split=split,
                hub=companion.hub,
                hub_note="",
                columns=(companion.key, *companion.columns),
                aliases={},
            )
        )
    except UserError as error:
        columns = ", ".join(companion.columns)
        raise UserError(
            f"{name} takes {columns} from the set {companion.name}, joined on {companion.key}. {error}"
        ) from error


def _join(rows: Sequence[Row], companion: Companion, partner: Table) -> Sequence[Row]:
    partners = {row[companion.key]: {column: row[column] for column in companion.columns} for row in partner.rows}
    alone: dict[str, Any] = dict.fromkeys(companion.columns)

    def join(_: int, row: Row) -> Row:
        return {**row, **partners.get(row[companion.key], alone)}

    return Mapped(rows, join)


def rename(row: Row, aliases: Mapping[str, str]) -> Row:
    """The row under our column names; a column that already has our name stays."""
    if not any(name in row for name in aliases):
        return row
    ours = {name: value for name, value in row.items() if name not in aliases}
    return {**{aliases[name]: value for name, value in row.items() if name in aliases}, **ours}


def our_columns(columns: Sequence[str], aliases: Mapping[str, str]) -> frozenset[str]:
    """The column names of a table after renaming."""
    return frozenset(aliases.get(name, name) for name in columns)


def missing_columns(wanted: Wanted, found: Sequence[str]) -> str | None:
    """What to tell about columns that are missing among `found`, or None when all are there."""
    missing = [name for name in wanted.columns if name not in our_columns(found, wanted.aliases)]
    if not missing:
        return None
    also = "".join(f" ({ours} may also be called {other})" for other, ours in wanted.aliases.items() if ours in missing)
    return (
        f"column {', '.join(missing)} is missing{also}; {wanted.name} needs {', '.join(wanted.columns)}, "
        f"found {quote_names(found)}"
    )
