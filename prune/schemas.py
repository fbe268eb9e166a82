"""Registration of the typed configuration with Hydra."""

from typing import Any

from hydra.core.config_store import ConfigStore

from prune.config.config import Config
from prune.config.sparsity import NMConfig, UnstructuredConfig
from prune.pruning.methods.dense import DenseConfig
from prune.pruning.methods.magnitude import MagnitudeConfig
from prune.pruning.methods.random import RandomConfig
from prune.pruning.methods.ria import RIAConfig
from prune.pruning.methods.sparsegpt import SparseGPTConfig
from prune.pruning.methods.wanda import WandaConfig
from prune.sweep.launchers.local.config import LocalLauncherConfig
from prune.sweep.launchers.plan import PlanLauncherConfig
from prune.sweep.launchers.prepare import PrepareLauncherConfig
from prune.sweep.launchers.slurm.config import SlurmLauncherConfig

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
