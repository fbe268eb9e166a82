"""What a cell scored on each item of a metric, for comparing two cells on the same items."""

import gzip
import math
import zlib
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from prune.cell.results import file_name
from prune.files import parse_json
from prune.report.model import Array
from prune.report.results.read import Result, Score


class DamagedItemsError(Exception):
    """Items that should be there and cannot be used; the message names the file."""


def read_items(result: Result, metric: str) -> Array | None:
    """The metric of each item, shape (N,), on the scale that it is compared on: 0 or 1 of an accuracy, the loss of a chunk.

    Their mean is the score, or its logarithm. Of a weighted mean M each item is M + weight (item - M) / mean weight, so that
    also the spread of their mean is that of the score (a ratio's, to first order).

    None when the score is no mean over items.

    Raises:
        DamagedItemsError: the file is missing or damaged, or of another measurement than the score.
    """
    score = result.scores[metric]
    if score.items is None or score.protocol.get("overflow"):
        return None
    path = result.folder / f"items/{file_name(score.items.metric)}.jsonl.gz"
    try:
        rows = _read_rows(path)
        values_N = _column(rows, score.items.keys)
        weights_N = None if score.items.weight_keys is None else _column(rows, score.items.weight_keys)
        in_order = [row["id"] for row in rows] == list(range(len(rows)))
    except FileNotFoundError:
        raise DamagedItemsError(f"{path} is missing") from None
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedItemsError(f"{path} is damaged ({type(error).__name__}: {error})") from None
    values_N = values_N if weights_N is None else _spread_by_weight(values_N, weights_N)
    if not in_order or not _is_of(values_N, score):
        raise DamagedItemsError(f"{path} holds the items of another measurement than the score")
    return values_N


def _read_rows(path: Path) -> list[dict[str, Any]]:
    lines = gzip.decompress(path.read_bytes()).splitlines()
    if not lines:
        raise ValueError("it is empty")
    rows: list[dict[str, Any]] = parse_json(b"[" + b",".join(lines) + b"]")
    return rows


def _column(rows: Sequence[Any], keys: Sequence[str]) -> Array:
    return np.array([reduce(lambda entry, key: entry[key], keys, row) for row in rows], dtype=np.float64)


def _spread_by_weight(values_N: Array, weights_N: Array) -> Array:
    if not weights_N.sum() > 0:
        return np.full(len(values_N), np.nan)
    mean = float(np.average(values_N, weights=weights_N))
    spread: Array = mean + weights_N * (values_N - mean) / weights_N.mean()
    return spread


def _is_of(values_N: Array, score: Score) -> bool:
    """Whether the items are those that the score is the mean of."""
    if len(values_N) != score.num_items or not np.isfinite(values_N).all():
        return False
    return math.isclose(float(np.mean(values_N)), score.compared, rel_tol=1e-9, abs_tol=1e-9)


class ItemsOfRows:
    """The items of rows, mean over their seeds; each file is read once."""

    def __init__(self, results: Sequence[Result], cells_of_row: Sequence[Sequence[int]]) -> None:
        self._results = results
        self._cells_of_row = cells_of_row
        self._kept: dict[tuple[int, str], Array | None] = {}
        self.problems: dict[str, None] = {}
        """What is wrong with files that were read, each once: a row whose items cannot be used is compared without them."""

    def of_row(self, row: int, metric: str) -> Array | None:
        """Shape (N,); None when a cell of the row that has the metric lacks its items, or they differ in number."""
        key = (row, metric)
        if key not in self._kept:
            self._kept[key] = self._read(row, metric)
        return self._kept[key]

    def _read(self, row: int, metric: str) -> Array | None:
        cells = [self._results[cell] for cell in self._cells_of_row[row] if metric in self._results[cell].scores]
        found: list[Array] = []
        for cell in cells:
            try:
                items = read_items(cell, metric)
            except DamagedItemsError as error:
                self.problems[f"{cell.name}: {error}"] = None
                return None
            if items is None or (found and len(items) != len(found[0])):
                return None
            found.append(items)
        if len(found) == 1:
            return found[0]
        return np.mean(found, axis=0) if found else None
