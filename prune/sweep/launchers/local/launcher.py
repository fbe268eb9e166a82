"""Runs the cells of a sweep in this process, one after another, sharing the loaded model."""

import os
from collections.abc import Sequence

from rich.console import Console

from prune.cell.cell import Cell
from prune.cell.lock import CellHeldError
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.config.config import Config, Device
from prune.errors import UserError
from prune.models.gpus import may_have_gpu
from prune.models.load import resolve_device
from prune.sweep.cell_launcher import CellLauncher
from prune.sweep.launchers.local.config import LocalLauncherConfig
from prune.sweep.launchers.local.workers import choose_gpus, run_in_workers
from prune.sweep.output.progress import SweepWatcher, watch
from prune.sweep.recorder import Recorder
from prune.sweep.sweep import Sweep


class LocalLauncher(CellLauncher):
    """Runs cells on this machine; it passes over a cell that another process holds."""

    config = LocalLauncherConfig
    fetches_models = True

    def check(self, sweep: Sweep, cells: Sequence[Cell]) -> None:
        """Check that there are the GPUs that the line asks for."""
        launcher = _knobs(sweep)
        for cell in cells:
            check_devices(cell.config, launcher)
        choose_gpus(cells, launcher, os.environ)

    def reads_cache_only(self, sweep: Sweep) -> bool:
        """Whether the environment sets the hub's clients offline."""
        return os.environ.get("HF_HUB_OFFLINE") == "1"

    def run(self, sweep: Sweep, cells: Sequence[Cell], recorder: Recorder, resources: Resources, console: Console) -> None:
        """Run `cells` in this process, or in several."""
        launcher = _knobs(sweep)
        if launcher.num_processes > 1 or launcher.gpus:
            run_in_workers(cells, launcher, recorder, console)
            return
        resources.dense_passes.expect(cells)
        unusable: dict[str, UserError] | None = {} if len({cell.dense_id for cell in cells}) > 1 else None
        with watch(console, len(cells)) as watcher:
            for cell in cells:
                watcher.begin_cell(cell.title)
                error = unusable.get(cell.dense_id) if unusable else None
                ended = recorder.fail_with(cell, error) if error else _run_one(cell, recorder, resources, watcher, unusable)
                watcher.end_cell(ended)


LAUNCHER = LocalLauncher()


def _knobs(sweep: Sweep) -> LocalLauncherConfig:
    launcher = sweep.config.launcher
    assert isinstance(launcher, LocalLauncherConfig), launcher
    return launcher


def check_devices(config: Config, launcher: LocalLauncherConfig) -> None:
    """Make sure that there is a GPU where one is asked for.

    Raises:
        UserError: there is none.
    """
    asked = [f"launcher.gpus=[{','.join(map(str, launcher.gpus))}]"] if launcher.gpus else []
    asked += [f"model.device_map={config.model.device_map}"] if config.model.device_map else []
    asked += ["device=cuda"] if config.device is Device.cuda else []
    if not asked:
        return
    if not may_have_gpu():
        raise UserError(
            f"{asked[0]}: there is no GPU here (no driver's file in /dev, or CUDA_VISIBLE_DEVICES hides them). "
            f"Leave it out, and compute on the CPU with device=cpu; or run on a cluster with launcher=slurm."
        )
    if config.device is Device.cuda:
        resolve_device(config.device)


def _run_one(
    cell: Cell, recorder: Recorder, resources: Resources, watcher: SweepWatcher, unusable: dict[str, UserError] | None
) -> str:
    """Run and record one cell; return its line for the terminal.

    Every other cell of the model would meet a mistake that a dense cell meets, but after minutes of pruning: it goes into
    `unusable`, or is raised where that is None, as the line has no other model.
    """
    try:
        result = run_cell(cell, resources, watcher)
    except CellHeldError as error:
        return recorder.hold(cell, str(error))
    except Exception as error:
        if cell.is_dense and isinstance(error, UserError):
            if unusable is None:
                raise
            unusable[cell.dense_id] = error
        return recorder.fail_with(cell, error)
    watcher.stage("tracker")
    return recorder.finish(cell, result)
