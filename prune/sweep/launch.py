"""How one command line runs: its points, the sweep that they make, and the launcher that the line names."""

from collections.abc import Sequence

from omegaconf import DictConfig
from rich.console import Console

from prune.cell.cell import Cell
from prune.cell.slurm_queue import Job, SlurmUnavailableError, queued_jobs
from prune.cell.standing import find_standing
from prune.config.config import Config
from prune.config.content import look_again, one_look
from prune.config.data import DataSource
from prune.config.folders import user_folders
from prune.data.privacy import private_rows
from prune.data.sources.commits import not_fetched
from prune.messages.cli import report
from prune.models.files import check_model
from prune.models.fit import bos_note
from prune.models.identity import is_known
from prune.sweep.compose import check_choices, to_config
from prune.sweep.grid import GridPoint, check_pairs
from prune.sweep.launcher import find_launcher
from prune.sweep.missing import fetching
from prune.sweep.needs import unknown_hubs
from prune.sweep.own_sets import own_sets, with_own_sets
from prune.sweep.sweep import make_sweep


def run_single_point(composed: DictConfig) -> None:
    """Run the one cell of a command line without -m.

    Raises:
        NotApplicableError: it means nothing; in a grid it would be listed and passed over.
    """
    from hydra.core.hydra_config import HydraConfig

    check_choices(HydraConfig.get().runtime.choices)
    config = with_own_sets(to_config(composed), own_sets(user_folders()))
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
    sets = own_sets(user_folders())
    configs = [with_own_sets(config, sets) for config in configs]
    with one_look():
        fetches = find_launcher(configs[0].launcher).fetches_models
        if fetches:
            meet_models(configs, overrides)
        points = _points(configs, of_points)
        if fetches and meet_rows([point.cell for point in points], overrides):
            points = _points(configs, of_points)
        run_sweep(points, overrides)


def _points(configs: Sequence[Config], of_points: Sequence[Sequence[str]]) -> list[GridPoint]:
    return [GridPoint.of_config(config, own) for config, own in zip(configs, of_points, strict=True)]


def meet_models(configs: Sequence[Config], overrides: Sequence[str]) -> None:
    """Fetch the small files of models that the hub's local cache does not have, whose commits are part of the cells' ids.

    Raises:
        UserError: they cannot be fetched.
    """
    for model in {repr(config.model): config.model for config in configs}.values():
        if not is_known(model):
            with fetching(overrides):
                check_model(model)
            look_again()


def meet_rows(cells: Sequence[Cell], overrides: Sequence[str]) -> bool:
    """Ask the hub for the commits of the cells' rows that its local cache does not know; returns whether there were any.

    Raises:
        UserError: they cannot be asked for.
    """
    unknown = not_fetched(hub for cell in cells for hub in unknown_hubs(cell))
    if not unknown:
        return False
    from prune.data.sources.hub import meet

    with fetching(overrides):
        for hub in unknown:
            meet(hub)
    look_again()
    return True


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
    with private_rows(sweep.config.privacy):
        find_launcher(sweep.config.launcher).launch(sweep, standings, Console())


def notes_on(cells: Sequence[Cell]) -> list[str]:
    """Notes on what a line gives and no cell uses, and what it should give."""
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
