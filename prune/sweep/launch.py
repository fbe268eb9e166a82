"""The story of one command line: its grid, what is finished, the launcher that runs the rest, the table."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from prune.cell import Cell
from prune.claim import claim, now
from prune.config import Config, DataSource
from prune.errors import SweepFailedError, UserError
from prune.launcher_config import (
    LocalLauncherConfig,
    PlanLauncherConfig,
    PrepareLauncherConfig,
    Retry,
    SlurmLauncherConfig,
)
from prune.messages import report
from prune.run import SAMPLE_NOTE
from prune.slurm import Job, SlurmUnavailableError, queued_jobs
from prune.sweep.checks import check_before_running, check_in_cache, check_writable
from prune.sweep.compose import to_config
from prune.sweep.grid import GridPoint, check_pairs, distinct_cells, sweep_name, write_grid
from prune.sweep.local import run_locally
from prune.sweep.outcome import Outcome, by_id
from prune.sweep.page import describe_page
from prune.sweep.session import Session
from prune.sweep.standing import Standing, find_standing
from prune.sweep.table import print_table
from prune.track import build_tracker
from prune.track.kept import sync_note
from prune.workshop import Workshop


@dataclass(frozen=True, slots=True)
class Sweep:
    """One command line: its grid points and the distinct cells behind them."""

    name: str
    points: Sequence[GridPoint]
    cells: Sequence[Cell]
    overrides: Sequence[str]
    config: Config
    """Of the first point; what a line has once, like its launcher, is the same in all."""

    @property
    def output_dir(self) -> Path:
        """Where cells, calibration sets and sweeps are kept."""
        return Path(self.config.output_dir)

    @property
    def folder(self) -> Path:
        """outputs/sweeps/<name>."""
        return self.output_dir / "sweeps" / self.name


def run_single_point(composed: DictConfig) -> None:
    """Run the one cell of a command line without -m.

    Raises:
        NotApplicableError: it means nothing; in a grid it would be listed and passed over.
    """
    from hydra.core.hydra_config import HydraConfig

    config = to_config(composed)
    check_pairs(config)
    overrides = list(HydraConfig.get().overrides.task)
    run_sweep([GridPoint.of_config(config, overrides)], overrides)


def run_sweep(points: Sequence[GridPoint], overrides: Sequence[str]) -> None:
    """Do with the grid what the `launcher` group says.

    Raises:
        UserError: the grid cannot be run; nothing was started.
        SweepFailedError: cells failed, and were listed.
    """
    sweep = make_sweep(points, overrides)
    queue = known_queue()
    standings = {cell.id: find_standing(cell, queue) for cell in sweep.cells}
    console, launcher = Console(), sweep.config.launcher
    if isinstance(launcher, PlanLauncherConfig):
        from prune.sweep.plan import print_plan

        write_grid(points, sweep.folder, standings)
        print_plan(console, sweep, standings)
    elif isinstance(launcher, PrepareLauncherConfig):
        from prune.sweep.prepare import prepare

        check_writable(sweep.output_dir)
        prepare(sweep.cells, overrides, console)
    else:
        run_cells_of(sweep, standings, console)


def make_sweep(points: Sequence[GridPoint], overrides: Sequence[str]) -> Sweep:
    """The sweep of a line.

    Raises:
        UserError: no point means anything, or something is varied that a line has once.
    """
    if all(point.reason is not None for point in points):
        raise UserError("\n".join(dict.fromkeys(point.reason or "" for point in points)))
    config = points[0].cell.config
    for key in ("launcher", "tracker", "sweep", "output_dir"):
        values = [getattr(point.cell.config, key) for point in points]
        if any(value != values[0] for value in values):
            raise UserError(f"{key} cannot take several values in one line, all its cells share it. Run a line for each.")
    return Sweep(sweep_name(config, overrides), points, distinct_cells(points), overrides, config)


def known_queue() -> dict[str, Job]:
    """This user's Slurm jobs; empty where there is no Slurm, or it does not answer."""
    try:
        return queued_jobs()
    except SlurmUnavailableError:
        return {}


def run_cells_of(sweep: Sweep, standings: Mapping[str, Standing], console: Console) -> None:
    """Run what is missing of a sweep and print the table."""
    config, launcher = sweep.config, sweep.config.launcher
    outcome, missing = sort_out(sweep.cells, standings, launcher.retry)
    workshop = Workshop()
    check_launch(sweep, missing, workshop)
    session = Session(sweep.name, outcome, build_tracker(config.tracker, sweep.output_dir), sweep.overrides)
    write_grid(sweep.points, sweep.folder, standings)
    if config.data.name is DataSource.sample:
        console.print(SAMPLE_NOTE, highlight=False)
    if outcome.results:
        console.print(f"{len(outcome.results)} of {len(sweep.cells)} cells are finished already.", highlight=False)
    if launcher.retry is Retry.all:
        set_aside(missing, sweep.output_dir)
    try:
        if isinstance(launcher, SlurmLauncherConfig):
            from prune.sweep.slurm import run_on_slurm

            run_on_slurm(sweep, missing, session, console)
        else:
            assert isinstance(launcher, LocalLauncherConfig), launcher
            run_locally(missing, launcher, session, workshop, console)
    finally:
        if outcome.results:
            print_table(console, sweep.points, outcome)
    say_goodbye(sweep, session, console)


def check_launch(sweep: Sweep, missing: Sequence[Cell], workshop: Workshop) -> None:
    """Check what can be known before the first cell begins.

    Raises:
        UserError: the first mistake found; nothing was written but the folder of the outputs.
    """
    launcher = sweep.config.launcher
    try:
        check_before_running(missing, workshop)
    except UserError as error:
        from prune.sweep.prepare import explain_missing

        raise explain_missing(error, sweep.overrides) or error from None
    check_writable(sweep.output_dir)
    if isinstance(launcher, SlurmLauncherConfig) and missing:
        from prune.sweep.slurm.submit import check_cluster

        check_cluster(launcher, missing, sweep.output_dir, sweep.overrides)
    if isinstance(launcher, LocalLauncherConfig) and missing:
        from prune.sweep.workers import choose_gpus

        choose_gpus(missing, launcher, os.environ)
        if os.environ.get("HF_HUB_OFFLINE") == "1":
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
        elif standing.failure is not None and retry is Retry.none:
            outcome.failures[cell.id] = standing.failure
        else:
            missing.append(cell)
    return outcome, missing


def set_aside(cells: Sequence[Cell], output_dir: Path) -> None:
    """Move what there is of `cells` to outputs/replaced, so that they are run from the start; one at work stays."""
    for cell in cells:
        folder = cell.folder()
        if folder.exists():
            with claim(folder):
                target = output_dir / "replaced" / f"{cell.id}-{now().replace(':', '')}"
                target.parent.mkdir(parents=True, exist_ok=True)
                folder.rename(target)


def say_goodbye(sweep: Sweep, session: Session, console: Console) -> None:
    """Say where the results are and how to send them to W&B; list failures and leave with their exit code."""
    say: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}
    console.print(f"Results: {sweep.output_dir}/cells, sweep {sweep.name}", **say)
    if session.outcome.held:
        console.print(
            f"{len(session.outcome.held)} cells are on their way elsewhere; the same line again shows them.", **say
        )
    session.catch_up(sweep.cells)
    notes = [sync_note(sweep.cells, sweep.output_dir) if sweep.config.tracker.name == "wandb" else None]
    for note in filter(None, [*notes, session.tracker.closing_note()]):
        console.print(note, **say)
    page = describe_page(sweep.output_dir, sweep.name, sweep.cells, session.outcome)
    if page is not None:
        console.print(page, **say)
    list_failures(sweep.cells, session.outcome)


def list_failures(cells: Sequence[Cell], outcome: Outcome) -> None:
    """List the failed cells; return when there are none.

    Raises:
        SweepFailedError: the exit code is 1, or 2 when each failed by wrong use.
    """
    if not outcome.failures:
        return
    named = by_id(cells)
    for cell_id, failure in outcome.failures.items():
        report(failure.describe(named[cell_id]))
    all_by_wrong_use = all(failure.wrong_use for failure in outcome.failures.values())
    raise SweepFailedError(len(outcome.failures), exit_code=2 if all_by_wrong_use else 1)
