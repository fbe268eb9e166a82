"""Runs the cells of a sweep in this process, one after another, sharing the loaded model."""

import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from prune.cell import Cell, CellHeldError, read_status
from prune.config import Config, DataSource
from prune.errors import UserError
from prune.files import disk_errors
from prune.messages import report
from prune.model_files import check_model
from prune.results import finished_result
from prune.run import SAMPLE_NOTE, Workshop, asked_config, plan, run_cell
from prune.sweep.grid import GridPoint, check_pairs, distinct_cells, sweep_name, to_config, write_grid
from prune.sweep.progress import SweepWatcher, watch
from prune.sweep.table import Outcome, print_table
from prune.track import Record, Tracker, build_tracker


def run_single_point(composed: DictConfig) -> None:
    """Run the one cell of a command line without -m.

    Raises:
        NotApplicableError: it means nothing; in a grid it would be listed and passed over.
    """
    from hydra.core.hydra_config import HydraConfig

    check_pairs(to_config(composed))
    overrides = list(HydraConfig.get().overrides.task)
    run_sweep([GridPoint.from_composed(composed, overrides)], overrides)


def run_sweep(points: Sequence[GridPoint], overrides: Sequence[str]) -> None:
    """Run what is missing of the grid, print the table; leave the process with 1 when a cell failed (2: all by wrong use).

    Raises:
        UserError: the grid cannot be run; nothing was started.
    """
    config = points[0].cell.config
    if all(point.reason is not None for point in points):
        raise UserError("\n".join(dict.fromkeys(point.reason or "" for point in points)))
    cells = distinct_cells(points)
    check_before_running(cells)
    name, console = sweep_name(config, overrides), Console()
    output_dir = Path(config.output_dir)
    write_grid(points, output_dir / "sweeps" / name)
    if config.data.name is DataSource.sample:
        console.print(SAMPLE_NOTE, highlight=False)
    outcome, tracker = Outcome(), build_tracker(config.tracker, output_dir)
    try:
        run_missing(cells, name, outcome, tracker, console)
    finally:
        if outcome.results:
            print_table(console, points, outcome)
    console.print(f"Results: {output_dir}/cells, sweep {name}", markup=False, highlight=False, soft_wrap=True)
    if note := tracker.closing_note():
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    leave_with_failures(cells, outcome)


def check_before_running(cells: Sequence[Cell]) -> None:
    """Check everything that can be known without loading anything: scores, model files, data, where results go.

    Raises:
        UserError: the first mistake found.
    """
    for config in {repr(_checked(cell.config)): cell.config for cell in cells}.values():
        check_model(config.model, max(config.calib.seq_len, config.eval.seq_len))
    for cell in cells:
        plan(cell)
    check_writable(Path(cells[0].config.output_dir))


def _checked(config: Config) -> tuple[object, ...]:
    return (config.model, config.calib.seq_len, config.eval.seq_len)


def check_writable(output_dir: Path) -> None:
    """Raise UserError unless files can be made in `output_dir`."""
    probe = output_dir / ".writable"
    with disk_errors(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()


def run_missing(cells: Sequence[Cell], sweep: str, outcome: Outcome, tracker: Tracker, console: Console) -> None:
    """Run each cell that has no result yet, and fill `outcome`; a failed cell does not stop the others."""
    missing = []
    for cell in cells:
        result = finished_result(cell.folder(), plan(cell))
        if result is None:
            missing.append(cell)
        else:
            outcome.results[cell.id] = result
    if len(missing) < len(cells):
        console.print(f"{len(cells) - len(missing)} of {len(cells)} cells are finished already.", highlight=False)
    if not missing:
        return
    workshop = Workshop()
    with watch(console, len(missing)) as watcher:
        for cell in missing:
            watcher.begin_cell(cell.name)
            note = _run_one(cell, sweep, outcome, tracker, workshop, watcher)
            watcher.end_cell(note)


def _run_one(
    cell: Cell, sweep: str, outcome: Outcome, tracker: Tracker, workshop: Workshop, watcher: SweepWatcher
) -> str:
    """Run one cell into `outcome`; return what to say of it."""
    try:
        result = run_cell(cell, workshop, watcher)
    except CellHeldError as error:
        outcome.held[cell.id] = str(error)
        return str(error)
    except Exception as error:
        if cell.is_dense and isinstance(error, UserError):
            raise  # every other cell would meet the same mistake, after minutes of pruning
        outcome.failures[cell.id] = error
        return f"failed: {error}"
    outcome.results[cell.id] = result
    _mirror(cell, sweep, result, tracker)
    return "  ".join(f"{name} {metric['value']:.4g}" for name, metric in result["metrics"].items())


def _mirror(cell: Cell, sweep: str, result: dict[str, object], tracker: Tracker) -> None:
    from prune.results import read_linears

    tracker.record(
        Record(
            cell_id=cell.id,
            name=cell.name,
            group=sweep,
            config=asked_config(cell),
            result=result,
            linears=read_linears(cell.folder()),
            folder=cell.folder(),
        )
    )


def leave_with_failures(cells: Sequence[Cell], outcome: Outcome) -> None:
    """List the failed cells and exit with 1, or with 2 when each failed by wrong use; return when none failed."""
    if not outcome.failures:
        return
    by_id = {cell.id: cell for cell in cells}
    for cell_id, error in outcome.failures.items():
        cell = by_id[cell_id]
        status = read_status(cell.folder()) or {}
        report(f"{cell.name} failed: {status.get('error') or error}\n  see {cell.folder() / 'run.log'}")
    sys.exit(2 if all(isinstance(error, UserError) for error in outcome.failures.values()) else 1)
