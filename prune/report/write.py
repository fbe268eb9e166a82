"""All files of a report: page, tables, figures."""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from prune.files import disk_errors
from prune.report.build import build_report
from prune.report.output.drawing import Drawing, draw, drawing_process
from prune.report.output.html import write_page
from prune.report.results.parts import Place

FOLDER = "report"
"""Folder of a report in its outputs, unless another is named."""
MANY_CELLS = 1000
"""From so many cells on, a process of their own draws the figures while this one writes page and tables."""


def write_report(
    outputs: Path,
    *,
    sweep: str | None = None,
    baseline: str | None = None,
    model: str | None = None,
    metrics: Sequence[str] | None = None,
    out: Path | None = None,
    console: Console | None = None,
    beside: Sequence[Place] = (),
) -> Path:
    """Write the report on the results in `outputs` and return the path of its page.

    Beside index.html lie cells.csv, cells.parquet, tables.md, tables.tex and figures/.

    Args:
        sweep, baseline, model, metrics, beside: as for `build_report`.
        out: the folder to write into; None is `outputs`/report.
        console: prints a summary; None prints nothing.

    Raises:
        UserError: as `build_report`, or the disk does not take the files.
    """
    from prune.report.output.tables import write_cells, write_tables
    from prune.report.output.terminal import print_summary

    folder = outputs / FOLDER if out is None else out
    page = folder / "index.html"
    with _no_collector(), _drawing(outputs / "cells") as start_drawing:
        report = build_report(
            outputs,
            sweep=sweep,
            baseline=baseline,
            model=model,
            metrics=metrics,
            cells_href=_cells_href(outputs, folder),
            beside=beside,
            elsewhere={place.outputs: _cells_href(place.outputs, folder) for place in beside if place.outputs != outputs},
        )
        _clear(folder / "figures")
        finish_drawing = start_drawing(report, folder / "figures")
        write_cells(report, folder)
        write_tables(report, folder)
        write_page(report, page)
        notes = finish_drawing()
    if console is not None:
        print_summary(console, report, notes, page)
    return page


def write_sweep_page(outputs: Path, sweep: str, metrics: Sequence[str], made_of: str = "") -> Path:
    """Write the page alone, on the results of one sweep, beside its grid.jsonl, and return its path.

    Args:
        made_of: as for `write_page`.

    Raises:
        UserError: as `write_report`.
    """
    folder = outputs / "sweeps" / sweep / FOLDER
    with _no_collector():
        report = build_report(outputs, sweep=sweep, metrics=metrics, cells_href=_cells_href(outputs, folder))
        write_page(report, folder / "index.html", made_of)
    return folder / "index.html"


def _cells_href(outputs: Path, folder: Path) -> str:
    return Path(os.path.relpath(outputs / "cells", folder)).as_posix()


@contextmanager
def _no_collector() -> Iterator[None]:
    """Switch off the search for cycles: it would go through millions of numbers and find hardly a cycle."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _drawing(cells: Path) -> Iterator[Drawing]:
    """Drawing in a second process where there are many cells and a core for it; else in this one, at the end."""
    if num_cores() == 1 or sum(1 for _ in cells.glob("*")) < MANY_CELLS:
        yield lambda report, folder: partial(draw, report, folder)
        return
    with drawing_process() as drawing:
        yield drawing


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _clear(figures: Path) -> None:
    """Remove the figures of an earlier report, which may be on other cells."""
    with disk_errors(figures):
        for path in [*figures.glob("*.png"), *figures.glob("*.svg")]:
            path.unlink()
