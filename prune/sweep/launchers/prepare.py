"""Does what needs the network before a sweep: models and rows into the cache, calibration sets built. Nothing is pruned.

Afterwards the cells run with HF_HUB_OFFLINE=1. A cell that finds something missing there says which line prepares it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from rich.console import Console

from prune.calib.recipe import Recipe
from prune.calib.set_folder import is_stored
from prune.cell.cell import Cell
from prune.cell.resources import Resources
from prune.cell.standing import Standing
from prune.config.content import look_again
from prune.config.data import DataConfig, DataSource
from prune.config.model import ModelConfig
from prune.data.dataset import RowSet
from prune.data.identity import repositories
from prune.data.sources.commits import COMMIT, cached_commit
from prune.errors import UserError
from prune.eval.metric import PlannedMetric
from prune.models.fetch import fetch_model
from prune.models.files import check_model, check_seq_len, local_folder
from prune.models.hub import cache_only_without_hub
from prune.sweep.launcher import Launcher
from prune.sweep.launchers.slurm.config import DryLauncherConfig
from prune.sweep.missing import prepare_line
from prune.sweep.needs import distinct_scores, is_id_known, needed_splits
from prune.sweep.preflight import check_writable
from prune.sweep.sweep import Sweep


@dataclass(kw_only=True, slots=True)
class PrepareLauncherConfig(DryLauncherConfig):
    """Models, rows and calibration sets are fetched and built, so that the cells need no network; nothing runs."""

    name: str = "prepare"


class PrepareLauncher(Launcher):
    """Brings here what the cells of the grid need."""

    config = PrepareLauncherConfig

    def launch(self, sweep: Sweep, standings: Mapping[str, Standing], console: Console) -> None:
        """Bring it into the cache and into the folder of the outputs."""
        check_writable(sweep.output_dir)
        prepare(sweep.cells, sweep.overrides, console)


LAUNCHER = PrepareLauncher()

READY = (
    "Everything is there. The sweep can now run without a network: launcher=slurm does so by itself; with other launchers "
    "set HF_HUB_OFFLINE=1."
)


READY_BUT_FOR_MODEL = (
    "Everything is there, except the sets that the model makes: launcher=slurm makes each in a job that its cells wait "
    "for, and with other launchers the first cell that needs one makes it. The sweep can now run without a network: "
    "launcher=slurm does so by itself; with other launchers set HF_HUB_OFFLINE=1."
)

LATER = "left to the cells: it takes the model, which is not loaded here"
"""What is said of a calibration set that the model makes."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A model, a split of rows or a calibration set that cells need."""

    name: str
    get: Callable[[], str]
    """Brings it here and returns what was done: `there`, `fetched` or `built`, and how large it is."""
    needs: tuple[str, ...] = ()
    """The names of the things that it is made from."""


def prepare(cells: Sequence[Cell], overrides: Sequence[str], console: Console) -> None:
    """Bring here everything that `cells` need, and print a line for each thing; one that fails does not stop the others.

    Raises:
        UserError: something could not be brought; all of it is listed.
    """
    resources, problems, left_to_model = Resources(), dict[str, str](), False
    with cache_only_without_hub() if _uses_hub(cells) else nullcontext() as out_of_reach:
        if out_of_reach:
            _say(console, f"Only what is in the cache can be used: {out_of_reach}.")
        for thing in list_things(cells, resources):
            begin = time.monotonic()
            said = _get(thing, problems)
            _say(console, f"{thing.name}: {said}  {time.monotonic() - begin:.1f} s")
            left_to_model |= said == LATER
    if problems:
        listed = "".join(f"\n- {name}: {problem}" for name, problem in problems.items())
        raise UserError(
            f"Not everything could be prepared.{listed}\nFix this and run the same line again: {prepare_line(overrides)}"
        )
    _say(console, READY_BUT_FOR_MODEL if left_to_model else READY)


def _get(thing: Thing, problems: dict[str, str]) -> str:
    """Bring one thing here; return its line for the terminal. A problem is kept in `problems`."""
    lacking = [need for need in thing.needs if need in problems]
    if lacking:
        return f"left out, because it needs the {lacking[0]}"
    try:
        return thing.get()
    except UserError as error:
        problems[thing.name] = str(error)
        return "failed"


def list_things(cells: Sequence[Cell], resources: Resources) -> list[Thing]:
    """What the cells need, each thing once: models, then rows, then the calibration sets that are made from them."""
    models = [_model(cell.config.model) for cell in cells]
    rows = [_rows(cell.config.data, dataset, split, resources) for cell in cells for dataset, split in needed_splits(cell)]
    rows += [
        _own_rows(planned, data, resources)
        for planned, data in distinct_scores(cells)
        if planned.data and not planned.settings.reads(data)
    ]
    sets = [_calibration_set(cell, cell.recipe, resources) for cell in cells if cell.recipe is not None]
    return list({thing.name: thing for thing in [*models, *rows, *sets]}.values())


def _uses_hub(cells: Sequence[Cell]) -> bool:
    if any(cell.config.data.name is DataSource.hub or local_folder(cell.config.model) is None for cell in cells):
        return True
    return any(repositories(dataset, cell.config.data) for cell in cells for dataset, _ in needed_splits(cell))


def _model(config: ModelConfig) -> Thing:
    def get() -> str:
        if config.gguf_file is None or local_folder(config) is not None:
            check_model(config)  # of the hub its small files: what they rule out is not fetched whole
        if local_folder(config) is not None:
            return "there"
        fetched = fetch_model(config)
        look_again()
        check_model(config)
        return f"{'there' if fetched.was_there else 'fetched'}, {_size(fetched.num_bytes)}, commit {fetched.commit[:8]}"

    return Thing(_model_name(config), get)


def _model_name(config: ModelConfig) -> str:
    revision = f" at {config.revision}" if config.revision else ""
    file = f" {config.gguf_file}" if config.gguf_file else ""
    return f"model {config.path or config.name}{revision}{file}"


def _rows(config: DataConfig, dataset: RowSet, split: str, resources: Resources) -> Thing:
    def get() -> str:
        hubs = repositories(dataset, config)
        if not hubs:
            return f"there, {len(resources.source(config).rows(dataset, split))} rows"
        from prune.data.sources.hub import kept_tables

        before = kept_tables()
        num_rows = len(resources.source(config).rows(dataset, split))
        look_again()
        commits = ", ".join(f"commit {(cached_commit(hub) or '')[:8]}" for hub in hubs if not COMMIT.fullmatch(hub.revision))
        said = f"{'there' if kept_tables() == before else 'fetched'}, {num_rows} rows"
        return f"{said}, {commits}" if commits else said

    return Thing(_rows_name(config, dataset, split), get)


def _own_rows(planned: PlannedMetric, config: DataConfig, resources: Resources) -> Thing:
    """The rows of a score that loads them itself, as lm-eval's tasks do from the hub."""

    def get() -> str:
        from prune.data.sources.hub import kept_tables

        before = kept_tables()
        num_rows = planned.settings.check_rows(resources.source(config))
        look_again()
        return f"{'there' if kept_tables() == before else 'fetched'}, {num_rows} rows"

    return Thing(f"rows {planned.dataset} (data={config.name.value})", get)


def _rows_name(config: DataConfig, dataset: RowSet, split: str) -> str:
    if dataset.own is not None:
        return f"rows {dataset.name}/{split} ({dataset.own.path})"
    root = f" data.root={config.root}" if config.root else ""
    return f"rows {dataset.name}/{split} (data={config.name.value}{root})"


def _calibration_set(cell: Cell, recipe: Recipe, resources: Resources) -> Thing:
    config, set_id = cell.config, recipe.id()

    def get() -> str:
        from prune.calib.store import load_or_build

        was_there = is_stored(recipe, cell.output_dir)
        if recipe.needs_model and not was_there:
            return LATER
        check_seq_len(config.model, config.calib.seq_len, "calib.seq_len")
        source, tokenizer = resources.source(config.data), resources.tokenizer(config.model)
        built = load_or_build(recipe, source, tokenizer, cell.output_dir)
        said = f"{'there' if was_there else 'built'}, {built.manifest['num_tokens']} tokens"
        return said if built.id == set_id else f"{said}, set {built.id}"

    rows = [_rows_name(config.data, dataset, split) for dataset, split in recipe.splits]
    axes = cell.axes
    drawn = f"s{config.calib.seed}" + (f"d{axes.draw}" if axes.draw else "")
    label = "-".join(part for part in (axes.calib, axes.prompt, axes.select) if part)
    what = set_id if is_id_known(cell) else f"by recipe {set_id}"
    name = f"calibration set {what} ({config.model.name}, {label}, {drawn})"
    return Thing(name, get, (_model_name(config.model), *rows))


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
