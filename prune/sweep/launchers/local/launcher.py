"""Runs the cells of a sweep in this process, one after another, sharing the loaded model."""

from collections.abc import Sequence

from rich.console import Console

from prune.cell.cell import Cell
from prune.cell.lock import CellHeldError
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.errors import UserError
from prune.sweep.launchers.local.config import LocalLauncherConfig
from prune.sweep.output.progress import SweepWatcher, watch
from prune.sweep.recorder import Session


def run_locally(
    cells: Sequence[Cell], launcher: LocalLauncherConfig, session: Session, resources: Resources, console: Console
) -> None:
    """Run `cells` on this machine; a failed cell does not stop the others, one that another process holds is left to it."""
    if not cells:
        return
    if launcher.num_processes > 1 or launcher.gpus:
        from prune.sweep.launchers.local.workers import run_in_workers

        run_in_workers(cells, launcher, session, console)
        return
    resources.dense_passes.expect(cells)
    unusable: dict[str, UserError] | None = {} if len({cell.dense_id for cell in cells}) > 1 else None
    with watch(console, len(cells)) as watcher:
        for cell in cells:
            watcher.begin_cell(cell.name)
            error = unusable.get(cell.dense_id) if unusable else None
            said = session.fail_with(cell, error) if error else _run_one(cell, session, resources, watcher, unusable)
            watcher.end_cell(said)


def _run_one(
    cell: Cell, session: Session, resources: Resources, watcher: SweepWatcher, unusable: dict[str, UserError] | None
) -> str:
    """Run one cell into the session; return what to say of it.

    A mistake that a dense cell meets, every other cell of its model would meet too, after minutes of pruning: it goes into
    `unusable`, or is raised where that is None, as the line has no other model.
    """
    try:
        result = run_cell(cell, resources, watcher)
    except CellHeldError as error:
        return session.hold(cell, str(error))
    except Exception as error:
        if cell.is_dense and isinstance(error, UserError):
            if unusable is None:
                raise
            unusable[cell.dense_id] = error
        return session.fail_with(cell, error)
    watcher.stage("tracker")
    return session.finish(cell, result)
