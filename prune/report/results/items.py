"""A cell's scores on each item of a metric, for comparing two cells item by item."""

import gzip
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from prune.cell.folder import CellFolder
from prune.cell.result import CellResult
from prune.eval.metric import ACCURACY, Metric
from prune.files import parse_json
from prune.report.numbers import Array


class DamagedItemsError(Exception):
    """Items that are missing or unusable; the message names the file."""


def read_items(result: CellResult, metric: str) -> Array | None:
    """The metric of each item, shape (N,), on the scale of comparison: 0 or 1 for an accuracy, the loss of a chunk.

    Their mean is the score, or its logarithm. For a weighted mean M each item is M + weight (item - M) / mean weight, so
    that the variance of their mean is also that of the score (a ratio, to first order). Items that share a premise or a
    passage (`cluster` in the file) count as one: see by_cluster. None where the score is no mean over items.

    Raises:
        DamagedItemsError: the file is missing or damaged, or belongs to another measurement than the score.
    """
    score = result.scores[metric]
    if score.items is None or score.protocol.get("overflow"):
        return None
    path = CellFolder(result.folder).shown_items(score.items.metric)
    try:
        rows = _read_rows(path)
        values_N = _column(rows, score.items.keys)
        weights_N = None if score.items.weight_keys is None else _column(rows, score.items.weight_keys)
        clusters = [int(row.get("cluster", index)) for index, row in enumerate(rows)]
        in_order = [row["id"] for row in rows] == list(range(len(rows)))
    except FileNotFoundError:
        raise DamagedItemsError(f"{path} is missing") from None
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedItemsError(f"{path} is damaged ({type(error).__name__}: {error})") from None
    values_N = values_N if weights_N is None else _spread_by_weight(values_N, weights_N)
    if not in_order or not _is_of(values_N, score):
        raise DamagedItemsError(f"{path} holds the items of another measurement than the score")
    return by_cluster(values_N, clusters)


def by_cluster(values_N: Array, clusters: Sequence[int]) -> Array:
    """A value for each cluster: their mean is that of the items, with the variance of a mean over drawn clusters.

    A cluster counts by the sum of its items' deviations (the linearised ratio of sums; Liang and Zeger 1986). Where no
    cluster has two items, the values come back unchanged.
    """
    _, places_N = np.unique(np.asarray(clusters), return_inverse=True)
    num_clusters = int(places_N.max(initial=-1)) + 1
    if num_clusters == len(values_N):
        return values_N
    mean = float(np.mean(values_N))
    sums_G: Array = np.bincount(places_N, weights=values_N - mean).astype(np.float64)
    return mean + num_clusters / len(values_N) * sums_G


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


def _is_of(values_N: Array, score: Metric) -> bool:
    """Whether the score is the mean of these items."""
    if len(values_N) != score.num_items or not np.isfinite(values_N).all():
        return False
    return math.isclose(float(np.mean(values_N)), score.compared, rel_tol=1e-9, abs_tol=1e-9)


@dataclass(frozen=True, slots=True)
class RowItems:
    """The scores of one row's draws on the same items."""

    mean_N: Array
    """Over the draws."""
    draw_variance: float
    """Variance of the row's mean from its draws' answers alone, beyond draw and item; 0 with one draw.

    The spread over the draws contains it, and so does the spread over the items.
    """
    least_variance: float
    """Variance of a single item with another answer; 0 for losses, which have no least step."""


def row_items(values_SN: Array, num_items: float | None) -> RowItems:
    """The items of S draws.

    Args:
        num_items: number of answers of 0 or 1 in the mean; None for losses.
    """
    num_draws, num = values_SN.shape
    mean_N = values_SN.mean(axis=0)
    variance = 0.0
    if num_draws > 1 and num > 1:
        rest_SN = values_SN - values_SN.mean(axis=1, keepdims=True) - mean_N + mean_N.mean()
        variance = float(np.sum(rest_SN**2)) / ((num_draws - 1) * (num - 1)) / (num_draws * num)
    return RowItems(mean_N, variance, 1 / (num_draws * num_items**2) if num_items else 0.0)


class ItemsOfRows:
    """The items of rows over their draws; each file is read once."""

    def __init__(self, results: Sequence[CellResult], cells_of_row: Sequence[Sequence[int]]) -> None:
        self._results = results
        self._cells_of_row = cells_of_row
        self._rows: dict[tuple[int, str], RowItems | None] = {}
        self._cells: dict[tuple[int, str], Array | None] = {}
        self.problems: dict[str, None] = {}
        """Problems of the files, each once; a row whose items cannot be used is compared without them."""

    def of_row(self, row: int, metric: str) -> RowItems | None:
        """The items of a row; None where a cell with the metric lacks its items, or they differ in number."""
        key = (row, metric)
        if key not in self._rows:
            self._rows[key] = self._read_row(row, metric)
        return self._rows[key]

    def of_cell(self, cell: int, metric: str) -> Array | None:
        """The items of a cell, shape (N,); None where the score is no mean over items, or its file cannot be used."""
        key = (cell, metric)
        if key not in self._cells:
            self._cells[key] = self._read(self._results[cell], metric)
        return self._cells[key]

    def _read(self, result: CellResult, metric: str) -> Array | None:
        try:
            return read_items(result, metric)
        except DamagedItemsError as error:
            self.problems[f"{result.name}: {error}"] = None
            return None

    def _read_row(self, row: int, metric: str) -> RowItems | None:
        cells = [cell for cell in self._cells_of_row[row] if metric in self._results[cell].scores]
        values_SN = stack([self.of_cell(cell, metric) for cell in cells])
        if values_SN is None:
            return None
        score = self._results[cells[0]].scores[metric]
        return row_items(values_SN, score.num_items if score.unit == ACCURACY else None)


def stack(found: Sequence[Array | None]) -> Array | None:
    """The items as one array, shape (S, N); None without any, where one is missing, or where they differ in number."""
    known = [items for items in found if items is not None]
    if not known or len(known) < len(found) or len({len(items) for items in known}) > 1:
        return None
    return np.stack(known)
