"""A launcher that runs the cells in this process, the last first."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from prune.cell.cell import Cell
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.config.launcher import LauncherConfig
from prune.errors import UserError
from prune.sweep.cell_launcher import CellLauncher
from prune.sweep.output.progress import PlainWatcher
from prune.sweep.recorder import Recorder
from prune.sweep.sweep import Sweep


@dataclass(kw_only=True, slots=True)
class BackwardsLauncherConfig(LauncherConfig):
    """In this process, the last cell first."""

    name: str = "backwards"
    max_cells: int = 10


class BackwardsLauncher(CellLauncher):
    """Runs few cells."""

    config = BackwardsLauncherConfig

    def check(self, sweep: Sweep, cells: Sequence[Cell]) -> None:
        """Check that they are few."""
        launcher = sweep.config.launcher
        assert isinstance(launcher, BackwardsLauncherConfig)
        if len(cells) > launcher.max_cells:
            raise UserError(f"launcher.max_cells={launcher.max_cells} is less than {len(cells)}.")

    def run(self, sweep: Sweep, cells: Sequence[Cell], recorder: Recorder, resources: Resources, console: Console) -> None:
        """Run them."""
        watcher = PlainWatcher(console, len(cells))
        for cell in reversed(cells):
            watcher.begin_cell(cell.name)
            watcher.end_cell(recorder.finish(cell, run_cell(cell, resources, watcher)))


LAUNCHER = BackwardsLauncher()
