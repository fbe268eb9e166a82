"""The story of one command line: its grid, what is finished, the launcher that runs the rest, the table."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from prune.cell.cell import Cell
from prune.cell.failure import Failure
from prune.cell.lock import CellHeldError, claim, tidy
from prune.cell.resources import Resources
from prune.cell.settle import settle
from prune.cell.slurm_queue import Job, SlurmUnavailableError, queued_jobs
from prune.cell.standing import Standing, find_standing
from prune.cli import report
from prune.config.config import Config
from prune.config.content import look_again, one_look
from prune.config.data import SAMPLE_NOTE, DataSource
from prune.config.launcher import Retry
from prune.errors import SweepFailedError, UserError
from prune.files import disk_errors, now
from prune.models.files import check_model
from prune.models.fit import bos_note
from prune.models.identity import is_known
from prune.sweep.compose import check_choices, to_config
from prune.sweep.grid import GridPoint, check_pairs, write_grid
from prune.sweep.launchers.local.config import LocalLauncherConfig
from prune.sweep.launchers.local.launcher import run_locally
from prune.sweep.launchers.plan import PlanLauncherConfig
from prune.sweep.launchers.prepare import PrepareLauncherConfig
from prune.sweep.launchers.slurm.config import SlurmLauncherConfig
from prune.sweep.output.page import describe_page
from prune.sweep.output.table import print_table
from prune.sweep.preflight import check_before_running, check_devices, check_in_cache, check_local_models, check_writable
from prune.sweep.recorder import Outcome, Session, by_id
from prune.sweep.sweep import Sweep, make_sweep
from prune.track.registry import build_tracker
from prune.track.wandb_state import sync_note


def run_single_point(composed: DictConfig) -> None:
    """Run the one cell of a command line without -m.

    Raises:
        NotApplicableError: it means nothing; in a grid it would be listed and passed over.
    """
    from hydra.core.hydra_config import HydraConfig

    check_choices(HydraConfig.get().runtime.choices)
    config = to_config(composed)
    check_pairs(config)
    overrides = list(HydraConfig.get().overrides.task)
    run_points([config], [overrides], overrides)


def run_points(configs: Sequence[Config], of_points: Sequence[Sequence[str]], overrides: Sequence[str]) -> None:
    """Run the sweep of a line, with its files as they are when it begins.

    Args:
        configs: of its points, with
        of_points: their overrides.
        overrides: those of the line.

    Raises:
        UserError, SweepFailedError: see `run_sweep`.
    """
    with one_look():
        if isinstance(configs[0].launcher, LocalLauncherConfig):
            meet_models(configs, overrides)
        points = [GridPoint.of_config(config, own) for config, own in zip(configs, of_points, strict=True)]
        run_sweep(points, overrides)


def meet_models(configs: Sequence[Config], overrides: Sequence[str]) -> None:
    """Fetch the small files of models that the hub's local cache does not have, as their commits tell the cells' ids.

    Raises:
        UserError: they cannot be fetched.
    """
    for model in {repr(config.model): config.model for config in configs}.values():
        if not is_known(model):
            with fetching(overrides):
                check_model(model)
            look_again()


@contextmanager
def fetching(overrides: Sequence[str]) -> Iterator[None]:
    """Adds to what is missing in the cache the line that fetches it."""
    try:
        yield
    except UserError as error:
        from prune.sweep.missing import explain_missing

        raise explain_missing(error, overrides) or error from None


def run_sweep(points: Sequence[GridPoint], overrides: Sequence[str]) -> None:
    """Do with the grid what the `launcher` group says.

    Raises:
        UserError: the grid cannot be run; nothing was started.
        SweepFailedError: cells failed, and were listed.
    """
    sweep = make_sweep(points, overrides)
    for note in notes_on(sweep.cells):
        report(note)
    queue = known_queue()
    standings = {cell.id: find_standing(cell, queue) for cell in sweep.cells}
    console, launcher = Console(), sweep.config.launcher
    if isinstance(launcher, PlanLauncherConfig):
        from prune.sweep.launchers.plan import print_plan

        check_local_models(sweep.cells)
        keep_grid(sweep, standings, is_plan=True)
        print_plan(console, sweep, standings)
    elif isinstance(launcher, PrepareLauncherConfig):
        from prune.sweep.launchers.prepare import prepare

        check_writable(sweep.output_dir)
        prepare(sweep.cells, overrides, console)
    else:
        run_cells_of(sweep, standings, console)


def notes_on(cells: Sequence[Cell]) -> list[str]:
    """What a line gives and no cell uses, and what it should give."""
    data = [cell.config.data for cell in cells]
    roots = {each.root for each in data if each.root is not None}
    notes = []
    if roots and not any(each.name is DataSource.local for each in data):
        notes.append(
            f"data.root={min(roots)} has no effect with data={data[0].name.value}. To read rows there, give data=local."
        )
    of_models = {(repr(c.model), c.eval.bos): c for c in (cell.config for cell in cells) if c.eval.perplexity}
    return [*notes, *filter(None, (bos_note(config.model, config.eval.bos) for config in of_models.values()))]


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
    resources = Resources()
    check_launch(sweep, missing, resources)
    for cell in sweep.cells:
        if cell.id in outcome.results:
            settle(cell, outcome.results[cell.id])
    session = Session(sweep.name, outcome, build_tracker(config.tracker, sweep.output_dir), sweep.overrides)
    keep_grid(sweep, standings)
    for cell_id in outcome.results:
        tidy(sweep.output_dir / "cells" / cell_id)
    if config.data.name is DataSource.sample:
        console.print(SAMPLE_NOTE, highlight=False)
    if outcome.results:
        console.print(f"{len(outcome.results)} of {len(sweep.cells)} cells are finished already.", highlight=False)
    if launcher.retry is Retry.all:
        missing = set_aside(missing, sweep.output_dir, session, console)
    try:
        if isinstance(launcher, SlurmLauncherConfig):
            from prune.sweep.launchers.slurm.launcher import run_on_slurm

            run_on_slurm(sweep, missing, session, console)
        else:
            assert isinstance(launcher, LocalLauncherConfig), launcher
            run_locally(missing, launcher, session, resources, console)
    finally:
        if outcome.results:
            print_table(console, sweep.points, outcome)
    say_goodbye(sweep, session, console)


def keep_grid(sweep: Sweep, standings: Mapping[str, Standing], *, is_plan: bool = False) -> None:
    """Add the points of the line to its sweep's grid.jsonl."""
    damage = write_grid(sweep.points, sweep.folder, standings, is_plan=is_plan)
    if damage is not None:
        report(damage)


def check_launch(sweep: Sweep, missing: Sequence[Cell], resources: Resources) -> None:
    """Check what can be known before the first cell begins.

    Raises:
        UserError: the first mistake found; nothing was written but the folder of the outputs.
    """
    launcher = sweep.config.launcher
    with fetching(sweep.overrides):
        if isinstance(launcher, LocalLauncherConfig):
            for cell in missing:
                check_devices(cell.config)
        check_before_running(missing, resources)
    check_writable(sweep.output_dir)
    if isinstance(launcher, SlurmLauncherConfig) and missing:
        from prune.sweep.launchers.slurm.submit import check_cluster

        check_cluster(launcher, missing, sweep.output_dir, sweep.overrides)
    if isinstance(launcher, LocalLauncherConfig) and missing:
        from prune.sweep.launchers.local.workers import choose_gpus

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
        elif standing.failure is not None and (standing.is_blocked or retry is Retry.none):
            outcome.failures[cell.id] = standing.failure
        else:
            missing.append(cell)
    return outcome, missing


def set_aside(cells: Sequence[Cell], output_dir: Path, session: Session, console: Console) -> list[Cell]:
    """Move what there is of `cells` to outputs/replaced, and return those that are to run from the start.

    A cell that another process works on stays as it is, and one with a damaged claim too.
    """
    free: list[Cell] = []
    for cell in cells:
        try:
            replace_folder(cell.folder(), output_dir / "replaced")
        except CellHeldError as error:
            stays = f"{cell.name} is not run again: {session.hold(cell, str(error))}"
            console.print(stays, markup=False, highlight=False, soft_wrap=True)
        except UserError as error:
            session.fail(cell, Failure.of_exception(error, None))
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
        SweepFailedError: the exit code is 1, or 2 when there is no result and each failed by wrong use.
    """
    if not outcome.failures:
        return
    named = by_id(cells)
    for cell_id, failure in outcome.failures.items():
        report(failure.describe(named[cell_id]))
    all_by_wrong_use = all(failure.wrong_use for failure in outcome.failures.values())
    raise SweepFailedError(len(outcome.failures), exit_code=2 if all_by_wrong_use and not outcome.results else 1)
