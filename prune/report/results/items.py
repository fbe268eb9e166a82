"""What a cell scored on each item of a metric, for comparing two cells on the same items."""

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prune.cell.results import file_name
from prune.files import parse_json
from prune.report.model import Array
from prune.report.results.read import Result, Score

_COLUMNS = {
    "ppl": ("ppl", "loss"),
    "acc": ("acc", "correct"),
    "acc_mc": ("acc_mc", "correct"),
    "acc_mc_norm": ("acc_mc", "correct_norm"),
}
"""Kind of metric -> the kind whose file holds its items, and their column. A BLEU is no mean over items."""


def has_items(metric: str) -> bool:
    """Whether a metric is the mean of something that each item has."""
    return metric.partition("/")[0] in _COLUMNS


def is_log(metric: str) -> bool:
    """Whether a metric is compared on the log scale: a perplexity is exp(mean loss)."""
    return metric.partition("/")[0] == "ppl"


def read_items(result: Result, metric: str) -> Array | None:
    """The metric of each item, shape (N,): 0 or 1 of an accuracy, the loss of a chunk; their mean is the score.

    None when the cell has no items of it, or they are damaged or of another measurement than the score: fewer, or with
    another mean.
    """
    kind, _, dataset = metric.partition("/")
    if kind not in _COLUMNS:
        return None
    file, column = _COLUMNS[kind]
    try:
        rows = _read_rows(result.folder / f"items/{file_name(f'{file}/{dataset}')}.jsonl.gz")
        values = np.array([row[column] for row in rows], dtype=np.float64)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    in_order = [row.get("id") for row in rows] == list(range(len(rows)))
    return values if in_order and _is_of(values, result.scores[metric], is_log(metric)) else None


def _read_rows(path: Path) -> list[dict[str, Any]]:
    lines = gzip.decompress(path.read_bytes()).splitlines()
    rows: list[dict[str, Any]] = parse_json(b"[" + b",".join(lines) + b"]")
    return rows


def _is_of(values: Array, score: Score, log: bool) -> bool:
    """Whether the items are those that the score is the mean of."""
    if len(values) != score.num_items:
        return False
    mean = float(np.mean(values))
    return math.isclose(mean, math.log(score.value) if log else score.value, rel_tol=1e-9, abs_tol=1e-9)


class ItemsOfRows:
    """The items of rows, mean over their seeds; each file is read once."""

    def __init__(self, results: Sequence[Result], cells_of_row: Sequence[Sequence[int]]) -> None:
        self._results = results
        self._cells_of_row = cells_of_row
        self._kept: dict[tuple[int, str], Array | None] = {}

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
            items = read_items(cell, metric)
            if items is None or (found and len(items) != len(found[0])):
                return None
            found.append(items)
        if len(found) == 1:
            return found[0]
        return np.mean(found, axis=0) if found else None
