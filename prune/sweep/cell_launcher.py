"""A launcher that runs cells: what is finished, what is checked, what runs, and what is said at the end."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from prune.cell.cell import Cell
from prune.cell.failure import Failure
from prune.cell.lock import CellHeldError, claim, tidy
from prune.cell.resources import Resources
from prune.cell.sets import reads_sample
from prune.cell.settle import settle
from prune.cell.standing import Standing
from prune.config.data import SAMPLE_NOTE
from prune.config.launcher import Retry
from prune.errors import SweepFailedError, UserError
from prune.files import disk_errors, now
from prune.messages.cli import report
from prune.messages.words import count
from prune.sweep.launcher import Launcher
from prune.sweep.missing import fetching
from prune.sweep.output.page import describe_page, stands_beyond_noise
from prune.sweep.output.table import print_table
from prune.sweep.preflight import check_before_running, check_in_cache, check_writable
from prune.sweep.recorder import Outcome, Recorder, by_id
from prune.sweep.sweep import Sweep
from prune.track.registry import build_tracker_of_line
from prune.track.wandb_state import sync_note


class CellLauncher(Launcher):
    """Runs the cells that are not finished, and prints the table of all."""

    def check(self, sweep: Sweep, cells: Sequence[Cell]) -> None:
        """Check what this machine and the launcher's configuration show, before anything is read or written.

        Raises:
            UserError: the first mistake found.
        """

    def reads_cache_only(self, sweep: Sweep) -> bool:
        """Whether the cells run without a network, so that models from the hub must be in its local cache."""
        return False

    @abstractmethod
    def run(self, sweep: Sweep, cells: Sequence[Cell], recorder: Recorder, resources: Resources, console: Console) -> None:
        """Run `cells`, at least one, and tell `recorder` how each ended; a cell that fails does not stop the others."""

    def launch(self, sweep: Sweep, standings: Mapping[str, Standing], console: Console) -> None:
        """Run what is missing of a sweep and print the table."""
        outcome, missing = sort_out(sweep.cells, standings, sweep.config.launcher.retry)
        resources = Resources()
        self._check(sweep, missing, resources)
        for cell in sweep.cells:
            if cell.id in outcome.results:
                settle(cell, outcome.results[cell.id])
        recorder = Recorder(
            sweep.name, outcome, build_tracker_of_line(sweep.config.tracker, sweep.output_dir), sweep.overrides
        )
        sweep.write_grid(standings)
        for cell_id in outcome.results:
            tidy(sweep.output_dir / "cells" / cell_id)
        if any(map(reads_sample, sweep.cells)):
            console.print(SAMPLE_NOTE, highlight=False)
        if outcome.results:
            console.print(f"{len(outcome.results)} of {len(sweep.cells)} cells are finished already.", highlight=False)
        if sweep.config.launcher.retry is Retry.all:
            missing = set_aside(missing, sweep.output_dir, recorder, console)
        try:
            if missing:
                self.run(sweep, missing, recorder, resources, console)
        finally:
            if outcome.results:
                print_table(console, sweep.points, outcome, stands_beyond_noise(sweep, outcome, console))
        print_ending(sweep, recorder, console)

    def _check(self, sweep: Sweep, missing: Sequence[Cell], resources: Resources) -> None:
        """Check what can be known before the first cell begins.

        Raises:
            UserError: the first mistake found; nothing was written but the folder of the outputs.
        """
        with fetching(sweep.overrides):
            if missing:
                self.check(sweep, missing)
            check_before_running(missing, resources)
        check_writable(sweep.output_dir)
        if missing and self.reads_cache_only(sweep):
            check_in_cache(missing, sweep.overrides)


def sort_out(cells: Sequence[Cell], standings: Mapping[str, Standing], retry: Retry) -> tuple[Outcome, list[Cell]]:
    """What is known already, and the cells that are still to run."""
    outcome, missing = Outcome(), []
    for cell in cells:
        standing = standings[cell.id]
        if retry is Retry.all:
            missing.append(cell)
        elif standing.result is not None:
            outcome.results[cell.id] = standing.result
        elif standing.failure is not None and (standing.is_blocked or retry is Retry.none):
            outcome.failures[cell.id] = standing.failure
        else:
            missing.append(cell)
    return outcome, missing


def set_aside(cells: Sequence[Cell], output_dir: Path, recorder: Recorder, console: Console) -> list[Cell]:
    """Move what there is of `cells` to outputs/replaced, and return those that are to run from the start.

    A cell that another process works on stays as it is, and one with a damaged claim too.
    """
    free: list[Cell] = []
    for cell in cells:
        try:
            replace_folder(cell.folder(), output_dir / "replaced")
        except CellHeldError as error:
            stays = f"{cell.title} is not run again: {recorder.hold(cell, str(error))}"
            console.print(stays, markup=False, highlight=False, soft_wrap=True)
        except UserError as error:
            recorder.fail(cell, Failure.of_exception(error, None))
        else:
            free.append(cell)
    return free


def replace_folder(folder: Path, replaced: Path) -> None:
    """Move a cell's folder into `replaced`, under a name of its own there; nothing happens when there is none.

    Raises:
        CellHeldError: another process works on it.
        UserError: the disk does not allow it, or the claim is damaged.
    """
    if not folder.exists():
        return
    with claim(folder), disk_errors(folder):
        replaced.mkdir(parents=True, exist_ok=True)
        name = f"{folder.name}-{now().replace(':', '')}"
        names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
        folder.rename(next(replaced / name for name in names if not (replaced / name).exists()))


def print_ending(sweep: Sweep, recorder: Recorder, console: Console) -> None:
    """Say where the results are and how to send them to W&B; list failures and leave with their exit code."""
    say: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}
    console.print(f"Results: {sweep.output_dir}/cells, sweep {sweep.name}", **say)
    if recorder.outcome.held:
        console.print(
            f"Queued or running elsewhere: {count(len(recorder.outcome.held), 'cell')}; the same line shows them later.",
            **say,
        )
    recorder.catch_up(sweep.cells)
    recorder.tracker.finish()
    notes = [sync_note(sweep.cells, sweep.output_dir) if sweep.config.tracker.name == "wandb" else None]
    for note in filter(None, [*notes, recorder.tracker.closing_note()]):
        console.print(note, **say)
    page = describe_page(sweep.output_dir, sweep.name, sweep.cells, recorder.outcome)
    if page is not None:
        console.print(page, **say)
    list_failures(sweep.cells, recorder.outcome)


def list_failures(cells: Sequence[Cell], outcome: Outcome) -> None:
    """List the failed cells; return when there are none.

    Raises:
        SweepFailedError: the exit code is 1, or 2 when there is no result and each failed by wrong use.
    """
    if not outcome.failures:
        return
    named = by_id(cells)
    for cell_id, failure in outcome.failures.items():
        report(failure.describe(named[cell_id]))
    all_by_wrong_use = all(failure.wrong_use for failure in outcome.failures.values())
    raise SweepFailedError(len(outcome.failures), exit_code=2 if all_by_wrong_use and not outcome.results else 1)
