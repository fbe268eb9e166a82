"""The page of a sweep: which calibration data wins among its cells, written when a line ends."""

from collections.abc import Sequence
from pathlib import Path

from prune.cell.cell import Cell, plan
from prune.cell.results import read_scores
from prune.errors import UserError
from prune.sweep.recorder import Outcome


def describe_page(output_dir: Path, name: str, cells: Sequence[Cell], outcome: Outcome) -> str | None:
    """Bring the page of the sweep `name` up to date and say where it is, or why there is none; None without a result.

    A page that is younger than every result stays as it is.
    """
    finished = [cell for cell in cells if cell.id in outcome.results]
    if not finished:
        return None
    page = output_dir / "sweeps" / name / "report" / "index.html"
    if not _is_current(page, finished):
        from prune.report.write import write_sweep_page

        try:
            write_sweep_page(output_dir, name, _metric_names(finished))
        except UserError as error:
            return f"No report: {error}"
    return f"Report: {page}"


def _is_current(page: Path, cells: Sequence[Cell]) -> bool:
    if not page.exists():
        return False
    written = page.stat().st_mtime_ns
    return all((cell.folder() / "result.json").stat().st_mtime_ns < written for cell in cells)


def _metric_names(cells: Sequence[Cell]) -> list[str]:
    """What the sweep asks for, and what is measured beside it; a result may hold more."""
    asked = {repr((cell.config.eval, cell.config.data)): cell for cell in cells}
    return list(dict.fromkeys(name for cell in asked.values() for name in read_scores(cell.folder(), plan(cell))[0]))
