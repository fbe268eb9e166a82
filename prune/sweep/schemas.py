"""Registration of the typed configuration with Hydra."""

from typing import Any

from hydra.core.config_store import ConfigStore

from prune.calib.registry import SELECTORS
from prune.config.config import Config
from prune.config.drop import BlocksConfig, ExpertsConfig
from prune.config.options import default_name
from prune.config.reconstruct import RECONSTRUCTIONS
from prune.config.sparsity import NMConfig, UnstructuredConfig
from prune.pruning.registry import METHODS, WEIGHTS
from prune.sweep.launcher import find_launchers

SCHEMAS: dict[str, type[Any]] = {
    **{f"method/{default_name(config)}": config for config in METHODS},
    **{f"select/{default_name(config)}": config for config in SELECTORS},
    **{f"weight/{default_name(config)}": config for config in WEIGHTS},
    **{f"reconstruct/{default_name(config)}": config for config in RECONSTRUCTIONS},
    "sparsity/unstructured": UnstructuredConfig,
    "sparsity/nm": NMConfig,
    "sparsity/blocks": BlocksConfig,
    "sparsity/experts": ExpertsConfig,
    **{f"launcher/{config().name}": config for config in find_launchers()},
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
