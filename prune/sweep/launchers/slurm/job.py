"""What runs inside a Slurm job: a few cells of one model, as they were configured at submission."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console
from submitit.core.utils import UncompletedJobError

from prune.cell.cell import Cell
from prune.cell.lock import CellHeldError
from prune.cell.provenance import CodeState
from prune.cell.resources import Resources
from prune.cell.run import describe_error, run_cell
from prune.config.tracker import TrackerConfig, TrackerMode
from prune.errors import UserError
from prune.messages.hub_words import errors_below
from prune.sweep.launchers.slurm.timed import TimedJob, TimedWatcher
from prune.sweep.missing import explain_missing
from prune.sweep.output.progress import SweepWatcher
from prune.sweep.recorder import describe_result, make_record
from prune.track.registry import build_tracker
from prune.track.tracker import Tracker


class CellsFailedError(RuntimeError):
    """Some cells of a job failed; each has its traceback in its own log."""


@dataclass
class CellsJob(TimedJob):
    """The program of one job; submitit pickles it at submission, so nothing that is edited later changes it.

    When it comes back from the queue, each cell goes on by its own files.
    """

    cells: list[Cell]
    sweep: str
    overrides: list[str]
    """Of the command line; for naming the line that fetches what a node misses."""
    submitted: CodeState
    timeout: str
    """The message of a job whose time is over and that does not go back to the queue."""
    working_folder: str
    """Where the line was typed: relative paths count from there. Slurm starts a job elsewhere when it cannot find it."""

    def __call__(self) -> None:
        """Run the cells; those that are finished, or that somebody else works on, are passed over.

        Raises:
            CellsFailedError: some failed, so that Slurm says FAILED.
            Exception: what the only cell raised.
        """

        os.chdir(self.working_folder)
        config = self.cells[0].config
        watcher = TimedWatcher(Console(width=120), len(self.cells), lambda: self.is_over)
        resources = Resources(makes_sets=False)
        tracker = build_tracker(keep_offline(config.tracker), self.cells[0].output_dir)
        resources.dense_passes.expect(self.cells)
        failed: dict[str, BaseException] = {}
        for cell in self.cells:
            watcher.begin_cell(cell.title)
            try:
                note = self._run_one(cell, resources, tracker, watcher)
            except CellHeldError as error:
                note = str(error)
            except Exception as error:
                if is_timeout(error):
                    raise
                failed[cell.title] = error
                note = f"failed: {error}"
            watcher.end_cell(note)
        raise_failures(failed, len(self.cells))

    def _run_one(self, cell: Cell, resources: Resources, tracker: Tracker, watcher: SweepWatcher) -> str:

        def describe(error: BaseException) -> str:
            if is_timeout(error):
                return f"TIMEOUT: {self.timeout}"
            return describe_error(self._missing(error, cell) or error)

        try:
            result = run_cell(cell, resources, watcher, self.submitted, describe)
        except Exception as error:
            if (missing := self._missing(error, cell)) is None:
                raise
            raise missing from error
        tracker.record(make_record(cell, result, self.sweep))
        return describe_result(result)

    def _missing(self, error: BaseException, cell: Cell) -> UserError | None:
        """The error with the line that fetches what a node misses, where that is what went wrong."""
        return None if is_timeout(error) else explain_missing(error, self.overrides, cell.config.model)


def keep_offline(config: TrackerConfig) -> TrackerConfig:
    """The tracker of a job, which never waits for a network: it keeps its runs, and the line that follows it sends them."""
    return replace(config, mode=TrackerMode.offline) if config.mode is TrackerMode.online else config


def is_timeout(error: BaseException) -> bool:
    """Whether the job's time was over: submitit raises at the signal, wherever the program is; a library may wrap it."""
    return any(isinstance(link, UncompletedJobError) for link in errors_below(error))


def raise_failures(failed: dict[str, BaseException], num_cells: int) -> None:
    """Raise what a job ends with; return when nothing failed."""
    if len(failed) == num_cells == 1:
        raise next(iter(failed.values()))
    if failed:
        listed = "\n".join(f"{name}: {type(error).__name__}: {error}" for name, error in failed.items())
        raise CellsFailedError(f"{len(failed)} of {num_cells} cells failed:\n{listed}")


def group_cells(cells: Sequence[Cell], cells_per_job: int) -> list[list[Cell]]:
    """The cells of each job: at most `cells_per_job`, all of one model, in grid order."""
    by_model: dict[str, list[Cell]] = {}
    for cell in cells:
        by_model.setdefault(cell.model_key, []).append(cell)
    return [
        group[start : start + cells_per_job] for group in by_model.values() for start in range(0, len(group), cells_per_job)
    ]
