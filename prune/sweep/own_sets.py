"""The user's own sets, read from the YAML files of their folders, and carried inside the configuration of each cell.

Hydra composes only the option of `calib` that a line chooses, and a Slurm job may see no folder of the user's: so the
definitions of all own sets are read at the start, and those that a cell's scores name travel with the cell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from prune.config.config import Config
from prune.config.own import OwnSetConfig
from prune.errors import UserError

_FIELDS = frozenset(entry.name for entry in fields(OwnSetConfig))


def own_sets(folders: Sequence[Path]) -> dict[str, OwnSetConfig]:
    """Name -> definition of the sets that have a path in `calib/*.yaml` of these folders; the first folder counts.

    Raises:
        UserError: a file is not YAML, or defines an impossible set.
    """
    found: dict[str, OwnSetConfig] = {}
    for folder in folders:
        for file in sorted((folder / "calib").glob("*.yaml")):
            definition = _read(file)
            if definition is not None:
                found.setdefault(file.stem, definition)
    return found


def _read(file: Path) -> OwnSetConfig | None:
    """The definition in a file; None when that is no set of the user's own."""
    try:
        loaded: Any = OmegaConf.load(file)
        if not OmegaConf.is_dict(loaded) or loaded.get("path") is None:
            return None
        own = OmegaConf.masked_copy(loaded, [key for key in loaded if key in _FIELDS])
        values: Any = OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(OwnSetConfig), own), resolve=True)
        if loaded.get("name") != file.stem:
            raise UserError(f"a set has the name of its file; write name: {file.stem}")
        return OwnSetConfig(**values)
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{file} cannot be read: {reason}. Correct the file, or move it out of the folder.") from None
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def with_own_sets(config: Config, known: Mapping[str, OwnSetConfig]) -> Config:
    """The configuration with the definitions of the own sets that its scores, selector or parts of a mixture name."""
    parts = config.calib.portions.counts if config.calib.is_mixture else ()
    named = [*config.eval.perplexity, *config.eval.tasks, *config.select.sets, *parts]
    sets = {name: known[name] for name in dict.fromkeys(named) if name in known}
    return replace(config, data=replace(config.data, sets={**sets, **config.data.sets})) if sets else config
