"""The rows of a user's own set, and what identifies them."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prune.config.content import files_sha256
from prune.config.own import HUB, OwnSetConfig
from prune.data.dataset import Hub, Row
from prune.data.sources.commits import cached_commit
from prune.data.sources.files import TEXT_COLUMN, ending_of, place_of
from prune.data.sources.layout import check_shards, content_of, find_files
from prune.data.sources.saved import read_tables
from prune.errors import UserError

TRAIN = "train"
HELD_OUT = "held-out"
"""The split of an own set that evaluation uses."""
UNKNOWN = "unknown"
"""Stands for the commit of a repository that was not fetched."""


class Chosen(Sequence[Row]):
    """Some rows of others, which keep their places."""

    def __init__(self, rows: Sequence[Row], chosen: Sequence[int]) -> None:
        self._rows, self._chosen = rows, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._rows[number] for number in self._chosen[index]]
        return self._rows[self._chosen[index]]

    def place(self, index: int) -> str:
        """Where the row stands among all."""
        return place_of(self._rows, self._chosen[index])


def read_own(own: OwnSetConfig, split: str) -> Sequence[Row]:
    """The rows of a split, in the order of the files' names; those for training are all rows, the held-out ones too, so that
    a row has one number.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    rows = _read_repository(own, split) if own.on_hub and not _has_files(own, split) else _read_files(own, split)
    if split != HELD_OUT or own.held_out is None:
        return rows
    return Chosen(rows, sorted(held_out_rows(own, len(rows))))


def _has_files(own: OwnSetConfig, split: str) -> bool:
    return split == HELD_OUT and own.eval_path is not None


def _read_files(own: OwnSetConfig, split: str) -> Sequence[Row]:
    return read_tables(files_of(own, split))


def _read_repository(own: OwnSetConfig, split: str) -> Sequence[Row]:
    from prune.data.sources.hub import read_split

    return read_split(own_hub(own), _split_name(own, split))


def _split_name(own: OwnSetConfig, split: str) -> str:
    """The repository's name of a split."""
    named = own.eval_split if split == HELD_OUT and own.eval_split is not None else own.split
    return named or "train"


def own_hub(own: OwnSetConfig) -> Hub:
    """The repository on the hub, as it is asked for."""
    return Hub(path=repository(own), revision=own.revision or "main", config=own.config)


def files_of(own: OwnSetConfig, split: str) -> list[Path]:
    """The files of a split.

    Raises:
        UserError: there are none.
    """
    key, path = ("eval_path", own.eval_path) if _has_files(own, split) else ("path", own.path)
    assert path is not None, "an own set has a path"
    try:
        files = find_files(path)
        check_shards(files)
    except UserError as error:
        raise UserError(f"calib.{key}: {error}") from None
    return files


def own_sha256(own: OwnSetConfig, split: str) -> str:
    """A hash of the files of a split: their content and how they are read; file names do not count.

    Of a hub repository, its commit, as far as the local cache knows it, with the configuration and the split.
    """
    if own.on_hub and not _has_files(own, split):
        commit = cached_commit(own_hub(own))
        return f"{commit or UNKNOWN}:{own.config or ''}:{_split_name(own, split)}"
    files = content_of(files_of(own, split))
    return files_sha256({f"{number}{ending_of(path) or path.suffix}": path for number, path in enumerate(files)})[:16]


def reading(own: OwnSetConfig) -> dict[str, str | None]:
    """What settles how rows become text, or questions with their answers, as plain values."""
    is_text = own.question is None and own.messages is None
    column = (own.column or TEXT_COLUMN) if is_text else None
    return {
        "column": column,
        "question": own.question,
        "answer": own.answer,
        "choices": own.choices,
        "messages": own.messages,
    }


def further_reading(own: OwnSetConfig | None) -> dict[str, str | None]:
    """What settles it for some uses only: rationales, and how an answer is read; nothing for the shipped sets."""
    if own is None:
        return {}
    asked = None if own.answer_kind == own.usual_answer_kind else own.answer_kind
    return {"rationale": own.rationale, "answer_kind": asked}


def held_out_rows(own: OwnSetConfig, num_rows: int) -> frozenset[int]:
    """The rows that are kept from calibration: a draw that depends on the number of rows alone.

    Raises:
        UserError: nothing would be left.
    """
    if own.held_out is None:
        return frozenset()
    if own.held_out >= num_rows:
        raise UserError(
            f"calib.held_out={own.held_out} leaves nothing of the {num_rows} rows of {own.path}. Keep fewer back."
        )
    return frozenset(random.Random(f"held-out/{num_rows}").sample(range(num_rows), own.held_out))


def repository(own: OwnSetConfig) -> str:
    """The hub repository's id.

    Raises:
        UserError: it is none.
    """
    assert own.path is not None, "an own set has a path"
    name = own.path.removeprefix(HUB)
    if name.count("/") != 1 or name.startswith("/") or name.endswith("/"):
        raise UserError(f"calib.path={own.path}: a repository is named by its owner and its name, as in {HUB}owner/name.")
    return name
