"""Which rows of a set can be used: read once, and remembered with the content of the files.

All rows are read, so that a bad one is found whichever rows are drawn.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from prune.config.content import cache_folder
from prune.config.data import DataConfig, DataSource
from prune.config.own import BadRows, OwnSetConfig
from prune.data.dataset import Example, QuestionSet, TextSet
from prune.data.identity import Identity, data_identity
from prune.data.privacy import are_private
from prune.data.sources.files import TEXT_COLUMN
from prune.data.sources.own import held_out_rows
from prune.data.sources.source import BadRowError, Source, examples, texts
from prune.errors import UserError
from prune.files import read_checked_json, write_checked_json

FORMAT = 1
"""Part of what a scan is remembered by; raised when rows come to be judged differently."""
NAMED = 20
"""Number of bad rows whose reason is kept; the others are only counted."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What reading all rows of a split has shown."""

    num_rows: int
    bad_rows: tuple[int, ...]
    """The rows that cannot be used, by number from 0."""
    reasons: tuple[str, ...]
    """Where the first of them stand, and what is wrong."""
    num_duplicates: int
    """Rows that say exactly what a row before them says."""

    def check(self, policy: BadRows, own: OwnSetConfig | None = None) -> None:
        """Refuse bad rows, unless they are to be skipped.

        Args:
            own: the definition, where the set is the user's own.

        Raises:
            UserError: there are some, or no row is left.
        """
        if self.bad_rows and len(self.bad_rows) == self.num_rows:
            told = f"None of the {self.num_rows} rows can be used; the first: {self.reasons[0]}"
            raise UserError(told if own is None else f"{told} {_advice(own)}")
        if self.bad_rows and policy is BadRows.error:
            more = f" So are {len(self.bad_rows) - 1} more." if len(self.bad_rows) > 1 else ""
            raise UserError(f"{self.reasons[0]}{more} Correct the rows, or leave them out with calib.bad_rows=skip.")


def _advice(own: OwnSetConfig) -> str:
    """Which keys say what a row of an own set holds, and what they say now."""
    named = {name: getattr(own, name) for name in ("question", "answer", "rationale", "choices", "messages", "column")}
    told = {name: column for name, column in named.items() if column is not None} or {"column": TEXT_COLUMN}
    return (
        f"They were read by {', '.join(f'calib.{name}={column!r}' for name, column in told.items())}. Correct the rows, or "
        "name the columns as they are called there: calib.column=NAME for texts, calib.question=NAME calib.answer=NAME for "
        "questions, calib.messages=NAME for conversations."
    )


class UsableRows(Collection[int]):
    """The rows that a calibration set may draw, ascending, and the counts of the others for its manifest."""

    def __init__(self, num_rows: int, out: Iterable[int] = (), counts: Mapping[str, int] = MappingProxyType({})) -> None:
        self._num_rows, self._out, self.counts = num_rows, frozenset(out), counts

    def __len__(self) -> int:
        return self._num_rows - len(self._out)

    def __iter__(self) -> Iterator[int]:
        return (row for row in range(self._num_rows) if row not in self._out)

    def __contains__(self, row: object) -> bool:
        return row not in self._out


def usable_rows(source: Source, dataset: TextSet | QuestionSet, split: str, data: DataConfig, policy: BadRows) -> UsableRows:
    """The rows of a split that a calibration set may draw: no bad ones, none that is held out.

    Generated rows are not looked at: they are what this program wrote.

    Raises:
        UserError: some are bad and the policy is to say so, or none is left.
    """
    if dataset.own is None and data.name is DataSource.sample:
        return UsableRows(len(source.rows(dataset, split)))
    found = scan(source, dataset, split, data_identity(dataset, [split], data))
    found.check(policy, dataset.own)
    held_out = frozenset[int]() if dataset.own is None else held_out_rows(dataset.own, found.num_rows)
    counts = {"num_bad_rows": len(found.bad_rows), "num_duplicates": found.num_duplicates, "num_held_out": len(held_out)}
    return UsableRows(found.num_rows, {*found.bad_rows, *held_out}, counts)


def scan(source: Source, dataset: TextSet | QuestionSet, split: str, identity: Identity) -> Scan:
    """Read all rows of a split, or remember what was found.

    Args:
        identity: what identifies the rows; see prune.data.identity.

    Raises:
        UserError: the rows cannot be read at all.
    """
    key = [FORMAT, dataset.name, dataset.columns, split, identity, *(["private"] if are_private() else [])]
    text = json.dumps(key, sort_keys=True, default=str)
    kept = cache_folder() / "scans" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    with suppress(UserError, OSError, KeyError, TypeError):
        known = read_checked_json(kept)
        if known is not None:
            return Scan(known["num_rows"], tuple(known["bad_rows"]), tuple(known["reasons"]), known["num_duplicates"])
    found = _read(examples(source, dataset, split) if isinstance(dataset, QuestionSet) else texts(source, dataset, split))
    with suppress(UserError, OSError):  # a memory that cannot be kept costs time, and nothing else
        write_checked_json(kept, asdict(found))
    return found


def _read(rows: Sequence[Any]) -> Scan:
    bad: list[int] = []
    reasons: list[str] = []
    seen: set[bytes] = set()
    num_duplicates = 0
    for index in range(len(rows)):
        try:
            value = rows[index]
        except BadRowError as error:
            bad.append(index)
            reasons += [str(error)] if len(reasons) < NAMED else []
            continue
        key = hashlib.blake2b(_said(value).encode(), digest_size=12).digest()
        num_duplicates += key in seen
        seen.add(key)
    return Scan(len(rows), tuple(bad), tuple(reasons), num_duplicates)


def _said(value: str | Example) -> str:
    return value if isinstance(value, str) else "\0".join((value.question, value.answer, value.rationale or ""))
