"""Registration of the typed configuration with Hydra."""

from typing import Any

from hydra.core.config_store import ConfigStore

from prune.config import (
    Config,
    DenseConfig,
    MagnitudeConfig,
    NMConfig,
    RandomConfig,
    RIAConfig,
    SparseGPTConfig,
    UnstructuredConfig,
    WandaConfig,
)
from prune.launcher_config import LocalLauncherConfig, PlanLauncherConfig, PrepareLauncherConfig, SlurmLauncherConfig

SCHEMAS: dict[str, type[Any]] = {
    "method/dense": DenseConfig,
    "method/magnitude": MagnitudeConfig,
    "method/random": RandomConfig,
    "method/wanda": WandaConfig,
    "method/ria": RIAConfig,
    "method/sparsegpt": SparseGPTConfig,
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
