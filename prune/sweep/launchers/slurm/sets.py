"""Calibration sets that the dense model makes, each in a job of its own that the cells wait for.

The cells' jobs begin when that job has ended, however it ended (`afterany`): with `afterok` they would stay in the queue for
ever where it failed. A cell that then finds no set fails at once, for the reason that the set's status.json gives.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from prune.cell.cell import Cell
from prune.cell.model_sets import calibration_set, describe_set, is_model_made, is_stored, making_folder
from prune.cell.resources import Resources
from prune.cell.slurm_queue import Job
from prune.cell.standing import read_submission, write_submission
from prune.cell.state import State, write_status
from prune.data.privacy import private_rows
from prune.sweep.launchers.slurm.submit import SubmittedJob
from prune.sweep.launchers.slurm.timed import TimedJob, TimedWatcher
from prune.sweep.missing import explain_missing


@dataclass
class SetJob(TimedJob):
    """The program of a job that makes one calibration set; submitit pickles it at submission.

    When it comes back from the queue, it begins the set anew.
    """

    cells: list[Cell]
    """One of those that wait for it."""
    overrides: list[str]
    """Of the command line; for naming the line that fetches what a node misses."""
    working_folder: str
    """Where the line was typed."""

    def __call__(self) -> None:
        """Make the set; nothing is done where it is there.

        Raises:
            Exception: what making it raised, so that Slurm says FAILED; status.json has it.
        """
        os.chdir(self.working_folder)
        (cell,) = self.cells
        assert cell.recipe is not None, "only cells with a calibration set wait for one"
        watcher = TimedWatcher(Console(width=120), 1, lambda: self.is_over)
        watcher.begin_cell(describe_set(cell))
        with private_rows(cell.config.privacy):
            try:
                calibration_set(cell, cell.recipe, Resources(), watcher)
            except Exception as error:
                missing = explain_missing(error, self.overrides, cell.config.model)
                if missing is None:
                    raise
                write_status(making_folder(cell), State.failed, f"UserError: {missing}")
                raise missing from error
        watcher.end_cell("made")


def missing_sets(cells: Sequence[Cell]) -> dict[str, Cell]:
    """Id -> a cell that needs it, for the sets of `cells` that the model makes and that are not there."""
    return {cell.recipe.id(): cell for cell in cells if cell.recipe and is_model_made(cell) and not is_stored(cell)}


def set_job(cell: Cell, queue: Mapping[str, Job]) -> Job | None:
    """The job on its way that makes the cell's calibration set; None where the set is there, or no job makes it."""
    if not is_model_made(cell) or is_stored(cell):
        return None
    submission = read_submission(making_folder(cell))
    job = queue.get(submission.job_id) if submission else None
    return None if job is None or job.has_ended else job


def note_set_jobs(jobs: Sequence[SubmittedJob], sweep: str) -> None:
    """Write the job that makes a set into the folder of the set that is to be made."""
    for job in jobs:
        for cell in job.cells:
            write_submission(making_folder(cell), job.id, job.log, sweep)
