"""The page of a sweep: which calibration data wins among its cells, written when a line ends."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from prune.cell.assembly import planned_metrics
from prune.cell.cell import Cell
from prune.errors import UserError
from prune.files import CHECKSUM, checksum
from prune.sweep.recorder import Outcome
from prune.sweep.sweep import Sweep

MAX_COMPARED = 500
"""Cells of which the table compares draws."""


def describe_page(output_dir: Path, name: str, cells: Sequence[Cell], outcome: Outcome) -> str | None:
    """Bring the page of the sweep `name` up to date and say where it is, or why there is none; None without a result.

    A page that is whole and was made of the same results, failures and points of the grid stays as it is, whatever the
    clocks say.
    """
    finished = [cell for cell in cells if cell.id in outcome.results]
    if not finished:
        return None
    from prune.report.output.html import is_page_of

    page = output_dir / "sweeps" / name / "report" / "index.html"
    made_of = _hash_of(page.parent.parent / "grid.jsonl", finished, outcome)
    if not is_page_of(page, made_of):
        from prune.report.write import write_sweep_page

        try:
            write_sweep_page(output_dir, name, _metric_names(finished), made_of)
        except UserError as error:
            return f"No report: {error}"
    return f"Report: {page}"


def stands_beyond_noise(sweep: Sweep, outcome: Outcome, console: Console) -> dict[tuple[str, str], str]:
    """What the table colours: (cell, score) -> `better` or `worse` than the C4 row, as the page compares rows.

    Empty where the terminal has no colours, there is one draw only, or there are so many cells that comparing takes long.
    """
    draws = {(cell.axes.calib, cell.axes.seed, cell.axes.draw) for cell in sweep.cells}
    several = len(draws) > len({calib for calib, _, _ in draws})
    if console.color_system is None or not several or len(outcome.results) > MAX_COMPARED:
        return {}
    from prune.report.build import find_stands

    try:
        return find_stands(sweep.output_dir, sweep.name)
    except UserError:
        return {}


def _hash_of(grid: Path, finished: Sequence[Cell], outcome: Outcome) -> str:
    """A hash of all that the page shows."""
    results = {cell.id: outcome.results[cell.id] for cell in finished}
    content = {
        "results": sorted((cell_id, result.get(CHECKSUM) or checksum(result)) for cell_id, result in results.items()),
        "failures": sorted((cell_id, str(failure)) for cell_id, failure in outcome.failures.items()),
        "held": sorted(outcome.held),
        "scores": list(dict.fromkeys(each.name for cell in _asking(finished) for each in cell.scores)),
        "grid": hashlib.sha256(grid.read_bytes()).hexdigest() if grid.is_file() else None,
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _asking(cells: Sequence[Cell]) -> list[Cell]:
    """A cell for each way in which scores are asked for."""
    return list({repr((cell.config.eval, cell.config.data)): cell for cell in cells}.values())


def _metric_names(cells: Sequence[Cell]) -> list[str]:
    """What the sweep asks for, and what is measured beside it; a result may hold more."""
    metrics = (planned_metrics(cell.files.read_scores(cell.scores), cell.scores) for cell in _asking(cells))
    return list(dict.fromkeys(name for of_cell in metrics for name in of_cell))
