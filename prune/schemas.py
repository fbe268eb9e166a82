"""Registration of the typed configuration with Hydra."""

from typing import Any

from hydra.core.config_store import ConfigStore

from prune.config.config import Config
from prune.config.sparsity import NMConfig, UnstructuredConfig
from prune.pruning.registry import METHODS, default_name
from prune.sweep.launchers.local.config import LocalLauncherConfig
from prune.sweep.launchers.plan import PlanLauncherConfig
from prune.sweep.launchers.prepare import PrepareLauncherConfig
from prune.sweep.launchers.slurm.config import SlurmLauncherConfig

SCHEMAS: dict[str, type[Any]] = {
    **{f"method/{default_name(config)}": config for config in METHODS},
    "sparsity/unstructured": UnstructuredConfig,
    "sparsity/nm": NMConfig,
    "launcher/local": LocalLauncherConfig,
    "launcher/plan": PlanLauncherConfig,
    "launcher/prepare": PrepareLauncherConfig,
    "launcher/slurm": SlurmLauncherConfig,
}
"""Schema name under `schema/` -> dataclass, for the groups that have several; their options in conf/ refer to these names.
The other groups get their type from `Config`."""


def register_schemas() -> None:
    """Make the schemas known to Hydra; may be called again."""
    store = ConfigStore.instance()
    store.store(group="schema", name="config", node=Config, package="_global_")
    for path, schema in SCHEMAS.items():
        group, name = path.split("/")
        store.store(group=f"schema/{group}", name=name, node=schema)
