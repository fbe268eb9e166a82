"""The grids of sweeps: the cells that they ask for, and the points that mean nothing."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prune.cell.json_fields import OPTIONAL_TEXT, TEXT, take
from prune.errors import UserError, allowed
from prune.files import parse_json
from prune.report.model import Unfinished

Grids = Mapping[str, Sequence[Mapping[str, Any]]]
"""Sweep -> the rows of its grid.jsonl."""


def read_grids(folder: Path, only: str | None, damaged: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Sweep -> the rows of its grid.jsonl, the oldest sweep first."""
    paths = sorted(folder.glob("*/grid.jsonl"), key=lambda path: (path.stat().st_mtime, path.parent.name))
    names = [path.parent.name for path in paths]
    if only is not None and only not in names:
        raise UserError(f"{folder.parent} has no sweep {only}. {allowed(only, names)}")
    return {path.parent.name: _read_grid(path, damaged) for path in paths if only in (None, path.parent.name)}


def _read_grid(path: Path, damaged: list[str]) -> list[dict[str, Any]]:
    """The rows of a grid.jsonl; a sentence on unusable lines is added to `damaged`."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        damaged.append(f"{path} is damaged ({error})")
        return []
    rows, problems = [], []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_grid_row(parse_json(line)))
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    if problems:
        left_out = f"{len(problems)} of its {len(lines)} lines left out"
        damaged.append(f"{path} is damaged ({left_out}; {problems[0]}). Run the sweep's line again: it writes the file anew")
    return rows


def _grid_row(row: Any) -> dict[str, Any]:
    take(row, "name", TEXT).encode()
    take(row, "not_applicable", OPTIONAL_TEXT)
    take({"apart": "", **row}, "apart", TEXT).encode()  # rows of earlier versions lack it
    if take(row, "cell", OPTIONAL_TEXT) is not None:
        for key in ("cell", "dense_cell"):
            if not re.fullmatch(r"[\w.-]+", take(row, key, TEXT)):
                raise ValueError(f"{key} is no name of a folder")
    found: dict[str, Any] = row
    return found


def wanted_cells(outputs: Path, grids: Grids, everything: bool) -> dict[str, tuple[str, str]]:
    """Cell id -> (name, a sweep that asks for it); with `everything` also the cells that no sweep asks for."""
    wanted: dict[str, tuple[str, str]] = {}
    for sweep, rows in grids.items():
        for row in rows:
            if row["cell"] is not None:
                wanted.setdefault(row["dense_cell"], (f"{row['name'].partition('/')[0]}/dense", sweep))
                wanted.setdefault(row["cell"], (f"{row['name']} {row.get('apart', '')}".rstrip(), sweep))
    if everything:
        for path in sorted((outputs / "cells").iterdir()):
            if path.is_dir():
                wanted.setdefault(path.name, ("", ""))
    return wanted


def labels_of(grids: Grids) -> dict[str, list[str]]:
    """Cell id -> the names of its calibration set in the grids; a set of the user's own may have several."""
    labels: dict[str, list[str]] = {}
    for row in (row for rows in grids.values() for row in rows):
        label = row.get("calib")
        if row["cell"] is not None and isinstance(label, str) and label not in labels.setdefault(row["cell"], []):
            labels[row["cell"]].append(label)
    return labels


def not_applicable(grids: Grids) -> list[Unfinished]:
    """The points of the grids that mean nothing, each once."""
    rows = {
        row["name"]: Unfinished(id="", name=row["name"], state="not applicable", reason=row["not_applicable"], sweep=sweep)
        for sweep, points in grids.items()
        for row in points
        if row["not_applicable"] is not None
    }
    return list(rows.values())
