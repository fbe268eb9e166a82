"""Which cell the others are compared with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prune.cell.baseline import baseline_cell
from prune.cell.cell import Cell
from prune.cell.folder import CellFolder


def compared_results(cell: Cell, known: Mapping[str, dict[str, Any]]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The results of the unpruned model and of the cell that differs from `cell` only in being calibrated on C4, each None
    when there is none; the latter also when the method looks at no calibration."""
    dense = _find_result(cell.output_dir, cell.dense_id, known)
    baseline = baseline_cell(cell)
    return dense, None if baseline is None else _find_result(cell.output_dir, baseline.id, known)


def _find_result(output_dir: Path, cell_id: str, known: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    folder = CellFolder(output_dir / "cells" / cell_id)
    return known.get(cell_id) or folder.find_result()  # a damaged one is told of by its own cell
