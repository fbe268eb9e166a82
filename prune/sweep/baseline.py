"""Which cell the others are compared with."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from prune.cell.cell import Cell, make_cell
from prune.cell.results import read_result
from prune.errors import UserError

BASELINE = "c4"
"""The calibration set that everyone uses."""


def compared_results(cell: Cell, known: Mapping[str, dict[str, Any]]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The results of the unpruned model and of the cell that differs from `cell` only in being calibrated on C4, each None
    when there is none; the latter also when the method looks at no calibration."""
    dense = _find_result(cell.output_dir, cell.dense_id, known)
    if cell.axes.calib is None:
        return dense, None
    c4 = make_cell(replace(cell.config, calib=replace(cell.config.calib, name=BASELINE)))
    return dense, _find_result(cell.output_dir, c4.id, known)


def _find_result(output_dir: Path, cell_id: str, known: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return known.get(cell_id) or read_result(output_dir / "cells" / cell_id)
    except UserError:  # a damaged file is told of where its own cell is asked for
        return None


def baseline_key(cell: Cell) -> str:
    """What two cells share that differ only in calibration data and prompt."""
    form = dict(cell.canonical)
    calib = dict(form.pop("calib", {}) or {})
    return repr((sorted(form.items(), key=str), [calib.get(key) for key in ("num_samples", "seq_len", "seed", "compat")]))
