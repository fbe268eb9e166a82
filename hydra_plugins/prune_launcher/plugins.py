"""The Hydra plugins `prune`: a launcher that receives the whole grid at once, and a sweeper that composes it once.

Hydra's BasicSweeper composes every grid point to validate it and leaves the launcher to compose it again; ours leaves both
to the launcher, which checks all points before the first one runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from prune.config.folders import user_folders


@dataclass
class PruneLauncherConf:
    """Selected by `hydra/launcher: prune` in conf/config.yaml."""

    _target_: str = "hydra_plugins.prune_launcher.plugins.PruneLauncher"


@dataclass
class PruneSweeperConf:
    """Selected by `hydra/sweeper: prune` in conf/config.yaml."""

    _target_: str = "hydra_plugins.prune_launcher.plugins.PruneSweeper"
    params: dict[str, str] = field(default_factory=dict)
    points: list[list[str]] = field(default_factory=list)
    """Overrides that change together: the grid has each point of `params` and of the line with each of these."""


_store = ConfigStore.instance()
_store.store(group="hydra/launcher", name="prune", node=PruneLauncherConf, provider="prune")
_store.store(group="hydra/sweeper", name="prune", node=PruneSweeperConf, provider="prune")


class UserFolders(SearchPathPlugin):
    """Lets Hydra find the options in the user's own folders; see prune/config/folders.py."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders; called by Hydra."""
        for folder in user_folders():
            search_path.append(provider="prune", path=f"file://{folder}")


class PruneSweeper(BasicSweeper):
    """Expands the overrides to the whole grid and hands it to the launcher in one piece."""

    def __init__(self, params: dict[str, str], points: list[list[str]]) -> None:
        super().__init__(max_batch_size=None, params=params)
        self._points = [list(point) for point in points]

    def sweep(self, arguments: list[str]) -> Any:
        """Return what the launcher returns for the grid of `arguments`."""
        from prune.messages.line_checks import check_groups, check_not_empty, check_points

        assert self.hydra_context is not None and self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        check_groups(overrides)
        check_not_empty(overrides)
        check_points([override.key_or_group for override in overrides], self._points)
        (grid,) = self.split_arguments(overrides, None)
        whole = [[*point, *together] for point in grid for together in self._points or [[]]]
        jobs = self.launcher.launch(whole, initial_job_idx=0)
        for job in jobs:
            job.return_value  # noqa: B018 - raises what the job raised, under a launcher of Hydra's
        return [jobs]


class PruneLauncher(Launcher):
    """Composes all grid points, then runs their cells as the `launcher` group says."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what `launch` needs; called by Hydra."""
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the sweep; return one job a grid point."""
        from prune.sweep.compose import check_choices, compose_points
        from prune.sweep.launch import run_points

        loader = self.hydra_context.config_loader

        def compose(overrides: list[str]) -> DictConfig:
            composed = loader.load_sweep_config(self.config, overrides)
            check_choices(composed.hydra.runtime.choices)
            return composed

        composed = compose_points(job_overrides, compose)
        run_points(composed, job_overrides, list(self.config.hydra.overrides.task))
        return [JobReturn(overrides=overrides, status=JobStatus.COMPLETED) for overrides in job_overrides]
