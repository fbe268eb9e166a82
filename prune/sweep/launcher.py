"""What a launcher is, and the launchers by their configuration class.

A launcher is one folder or module that defines LAUNCHER. Those in launchers/ are found by themselves; an installed package
offers its own as an entry point of the group `prune.launchers` that names such a module.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from rich.console import Console

from prune.cell.standing import Standing
from prune.config.extensions import option_modules
from prune.config.launcher import LauncherConfig
from prune.errors import UserError
from prune.sweep.sweep import Sweep


class Launcher(ABC):
    """What is done with the grid of a line; most launchers run its cells, and are a `CellLauncher`."""

    config: ClassVar[type[LauncherConfig]]
    """Its knobs; their default `name` is that of the option in conf/launcher/."""
    fetches_models: ClassVar[bool] = False
    """Whether a line first asks the hub for the commits of models and rows, which are part of its cells' ids."""

    @abstractmethod
    def launch(self, sweep: Sweep, standings: Mapping[str, Standing], console: Console) -> None:
        """Do it.

        Args:
            standings: where each cell stands, by its id.

        Raises:
            UserError: it cannot be done; nothing was started.
            SweepFailedError: cells failed, and were listed.
        """


@functools.cache
def find_launchers() -> dict[type[LauncherConfig], Launcher]:
    """All launchers, by the class of their configuration.

    Raises:
        UserError: a module defines none, or two have one name.
    """
    found: dict[str, Launcher] = {}
    for module in option_modules("prune.sweep.launchers", "prune.launchers"):
        launcher = getattr(module, "LAUNCHER", None)
        if not isinstance(launcher, Launcher):
            raise UserError(f"{module.__name__} defines no LAUNCHER that is a prune.sweep.launcher.Launcher.")
        name = launcher.config().name
        if name in found:
            first, second = (type(each).__module__ for each in (found[name], launcher))
            raise UserError(f"Two launchers are named {name}: {first} and {second}. Rename one, or uninstall it.")
        found[name] = launcher
    return {launcher.config: launcher for launcher in found.values()}


def find_launcher(config: LauncherConfig) -> Launcher:
    """The launcher that a configuration is of."""
    return find_launchers()[type(config)]
