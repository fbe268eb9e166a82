"""Runs the cells of a sweep in this process, one after another, sharing the loaded model."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from prune.cell import Cell, CellHeldError, uses_calibration
from prune.config import DataSource
from prune.data import find_dataset
from prune.data.dataset import ControlSet, QuestionSet, TextSet
from prune.errors import UserError
from prune.files import disk_errors
from prune.messages import report
from prune.model_files import check_model, check_seq_len
from prune.results import finished_result, read_linears
from prune.run import SAMPLE_NOTE, asked_config, plan, run_cell
from prune.sweep.grid import GridPoint, check_pairs, distinct_cells, sweep_name, to_config, write_grid
from prune.sweep.progress import SweepWatcher, watch
from prune.sweep.table import Outcome, print_table
from prune.track import Record, Tracker, build_tracker
from prune.workshop import Workshop


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
    outcome, missing = collect_finished(cells)
    name, console, workshop = sweep_name(config, overrides), Console(), Workshop()
    output_dir = Path(config.output_dir)
    check_before_running(missing, workshop)
    check_writable(output_dir)
    tracker = build_tracker(config.tracker, output_dir)
    write_grid(points, output_dir / "sweeps" / name)
    if config.data.name is DataSource.sample:
        console.print(SAMPLE_NOTE, highlight=False)
    if outcome.results:
        console.print(f"{len(outcome.results)} of {len(cells)} cells are finished already.", highlight=False)
    try:
        run_cells(missing, Session(name, outcome, tracker, workshop), console)
    finally:
        if outcome.results:
            print_table(console, points, outcome)
    console.print(f"Results: {output_dir}/cells, sweep {name}", markup=False, highlight=False, soft_wrap=True)
    if note := tracker.closing_note():
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    leave_with_failures(cells, outcome)


def check_before_running(cells: Sequence[Cell], workshop: Workshop) -> None:
    """Check what can be known before anything is loaded or written: model files, windows, and that all rows are there.

    Raises:
        UserError: the first mistake found.
    """
    for cell in cells:
        config = cell.config
        check_model(config.model)
        check_seq_len(config.model, config.eval.seq_len, "eval.seq_len")
        if uses_calibration(config.method):
            check_seq_len(config.model, config.calib.seq_len, "calib.seq_len")
        for dataset, split in needed_splits(cell):
            workshop.source(config.data).rows(dataset, split)


def needed_splits(cell: Cell) -> list[tuple[TextSet | QuestionSet, str]]:
    """The splits that a cell reads: of its calibration set, and of the sets that it is scored on."""
    needed: list[tuple[TextSet | QuestionSet, str]] = []
    if uses_calibration(cell.config.method):
        calib = find_dataset(cell.config.calib.name)
        if not isinstance(calib, ControlSet):
            needed.append((calib, calib.train_split))
    for planned in plan(cell):
        dataset = find_dataset(planned.dataset)
        assert not isinstance(dataset, ControlSet) and dataset.eval_split is not None, "the plan checks this"
        needed.append((dataset, dataset.eval_split))
        if isinstance(dataset, QuestionSet):
            needed.append((dataset, dataset.train_split))
    return needed


def check_writable(output_dir: Path) -> None:
    """Raise UserError unless files can be made in `output_dir`."""
    probe = output_dir / ".writable"
    with disk_errors(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()


def collect_finished(cells: Sequence[Cell]) -> tuple[Outcome, list[Cell]]:
    """The results that are there already, and the cells that are still to run."""
    outcome, missing = Outcome(), []
    for cell in cells:
        result = finished_result(cell.folder(), plan(cell))
        if result is None:
            missing.append(cell)
        else:
            outcome.results[cell.id] = result
    return outcome, missing


@dataclass(frozen=True, slots=True)
class Session:
    """What one launch holds while its cells run."""

    sweep: str
    outcome: Outcome
    tracker: Tracker
    workshop: Workshop


def run_cells(cells: Sequence[Cell], session: Session, console: Console) -> None:
    """Run each of `cells` and fill the outcome; a failed cell does not stop the others."""
    if not cells:
        return
    with watch(console, len(cells)) as watcher:
        for cell in cells:
            watcher.begin_cell(cell.name)
            watcher.end_cell(_run_one(cell, session, watcher))


def _run_one(cell: Cell, session: Session, watcher: SweepWatcher) -> str:
    """Run one cell into the outcome; return what to say of it."""
    try:
        result = run_cell(cell, session.workshop, watcher)
    except CellHeldError as error:
        session.outcome.held[cell.id] = str(error)
        return str(error)
    except Exception as error:
        if cell.is_dense and isinstance(error, UserError):
            raise  # every other cell would meet the same mistake, after minutes of pruning
        session.outcome.failures[cell.id] = error
        return f"failed: {error}"
    session.outcome.results[cell.id] = result
    watcher.stage("tracker")
    session.tracker.record(
        Record(
            cell_id=cell.id,
            name=cell.name,
            group=session.sweep,
            config=asked_config(cell),
            result=result,
            linears=read_linears(cell.folder()),
            folder=cell.folder(),
        )
    )
    return "  ".join(f"{name} {metric['value']:.4g}" for name, metric in result["metrics"].items())


def leave_with_failures(cells: Sequence[Cell], outcome: Outcome) -> None:
    """List the failed cells and exit with 1, or with 2 when each failed by wrong use; return when none failed."""
    if not outcome.failures:
        return
    by_id = {cell.id: cell for cell in cells}
    for cell_id, error in outcome.failures.items():
        cell = by_id[cell_id]
        what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        report(f"{cell.name} failed: {what}\n  see {cell.folder() / 'run.log'}")
    sys.exit(2 if all(isinstance(error, UserError) for error in outcome.failures.values()) else 1)
