"""What the typed configuration says of a key, for messages: what it allows, and a line to type."""

from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from prune.config.checks import MISSING
from prune.config.config import FROM_MODEL, Config

GROUPS = tuple(key for key, kind in get_type_hints(Config).items() if is_dataclass(kind) and key not in ("sweep", "merge"))
"""The groups of options that each cell has one of."""

_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Any: "a mapping or a path"}
_EXAMPLES = {int: "0", float: "0.5", bool: "true", str: "NAME", Any: "null"}


def allowed(path: str) -> str:
    """`a whole number`, `one of auto, cpu, cuda` and the like: what the key `path` may be."""
    if path in GROUPS:
        return "the name of an option"
    found = _find(path)
    if found is None:
        return "a value of another kind"
    return f"{_allowed(found[1])} for model.{found[0].name}" if path in FROM_MODEL else _allowed(found[1])


def example(path: str, value: str | None = None) -> str:
    """A line to type that sets the key `path`: to `value`, its default, or anything that is allowed."""
    if path in GROUPS or path == "experiment":
        return f"{path}={value or _DEFAULT_OPTIONS.get(path, 'OPTION')}"
    found = _find(path)
    if found is not None and is_dataclass(found[1]):
        return f"{path}.{fields(found[1])[0].name}=VALUE"
    if value is None and found is not None:
        value = _written(_default(found[0])) or _sample(found[1])
    return f"{path}={value or 'VALUE'}"


def keys_at(path: str) -> list[str]:
    """The keys below the key `path`, each once; those of the top for an empty one."""
    if not path:
        return [*(entry.name for entry in fields(Config)), "experiment"]
    found = dict.fromkeys(entry.name for kind in _classes(path) for entry in fields(kind))
    return sorted(found, key=lambda key: key != "name")


def options_with(path: str) -> list[str]:
    """`launcher=slurm` and the like: the options of a group that have the key `path`, without those that take all keys."""
    group, _, key = path.partition(".")
    schemas = ConfigStore.instance().repo.get("schema", {}).get(group, {})
    kinds: dict[str, Any] = {name: OmegaConf.get_type(schemas[name].node) for name in sorted(schemas)}
    keys = {name: {entry.name for entry in fields(kind)} for name, kind in kinds.items()}
    having = [name for name in keys if key in keys[name]]
    own = [name for name in having if not any(keys[name] > keys[other] for other in having)]
    return [f"{group}={name.removesuffix('.yaml')}" for name in own]


def is_text(path: str) -> bool:
    """Whether the value of the key `path` is a text, like a path or a name."""
    found = _find(path)
    return found is not None and str in (found[1], *get_args(found[1]))


_DEFAULT_OPTIONS = {
    "model": "tiny", "calib": "c4", "prompt": "icl", "method": "wanda", "sparsity": "unstructured", "eval": "quick",
    "data": "sample", "tracker": "wandb", "launcher": "local", "experiment": "prompts",
}  # fmt: skip


def _find(path: str) -> tuple[Field[Any], Any] | None:
    """(field, its type) of the key `path`, in any of the classes that it may belong to."""
    parent, _, key = path.rpartition(".")
    for kind in _classes(parent) if parent else [Config]:
        for entry in fields(kind):
            if entry.name == key:
                return entry, get_type_hints(kind)[key]
    return None


def _classes(path: str) -> Iterator[Any]:
    """The classes that a value at `path` may have, that of the default option first."""
    kind = get_type_hints(Config).get(path)
    if is_dataclass(kind):
        schemas = ConfigStore.instance().repo.get("schema", {}).get(path, {})
        default = f"{_DEFAULT_OPTIONS.get(path)}.yaml"
        yield from (
            OmegaConf.get_type(schemas[name].node) for name in sorted(schemas, key=lambda name: (name != default, name))
        )
        yield kind


def _allowed(kind: Any) -> str:
    options = [option for option in get_args(kind) if option is not NoneType]
    if NoneType in get_args(kind):
        return f"{_allowed(options[0])}, or null"
    if get_origin(kind) is list:
        return f"a list in brackets, each entry {_allowed(options[0])}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(member.name for member in kind)}"
    return "a group of keys" if is_dataclass(kind) else _PLAIN.get(kind, "a value of another kind")


def _sample(kind: Any) -> str:
    options = [option for option in get_args(kind) if option is not NoneType]
    if get_origin(kind) is list:
        return f"[{_sample(options[0])}]"
    if options:
        return _sample(options[0])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return str(next(iter(kind)).name)
    return _EXAMPLES.get(kind, "VALUE")


def _default(entry: Field[Any]) -> Any:
    return entry.default if entry.default_factory is NO_DEFAULT else entry.default_factory()


def _written(value: Any) -> str | None:
    """A default as it is written on the line; None for one that shows nothing."""
    if value is None or value is NO_DEFAULT or value in (MISSING, []) or is_dataclass(value):
        return None
    if isinstance(value, Enum):
        return str(value.name)
    if isinstance(value, list):
        return f"[{','.join(_written(item) or '' for item in value)}]"
    return str(value).lower() if isinstance(value, bool) else repr(value) if value == "\n\n" else str(value)
