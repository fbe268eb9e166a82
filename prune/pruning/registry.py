"""Pruning methods by their configuration class.

A method is one module: a dataclass `<Name>Config` of its knobs and a class `<Name>` that takes them. Those in methods/ are
found by themselves; an installed package offers its own as an entry point of the group `prune.methods` that names such a
module. Dense has knobs alone, as it prunes nothing.
"""

from collections.abc import Iterator
from dataclasses import fields
from types import ModuleType
from typing import Any

from prune.config.extensions import option_modules
from prune.config.method import MethodConfig
from prune.errors import UserError
from prune.pruning.method import Method
from prune.pruning.methods.dense import DenseConfig


def _methods_of(module: ModuleType) -> Iterator[tuple[type[MethodConfig], type[Method] | None]]:
    """The configuration classes that `module` defines, each with its method."""
    for name, kind in vars(module).items():
        if isinstance(kind, type) and issubclass(kind, MethodConfig) and kind.__module__ == module.__name__:
            method = getattr(module, name.removesuffix("Config"), None)
            if kind is not DenseConfig and (not isinstance(method, type) or method is kind):
                raise UserError(
                    f"{module.__name__} defines the knobs {name} and no method for them. Name the knobs <Name>Config and "
                    "the method <Name>."
                )
            yield kind, method


def _find_methods() -> dict[type[MethodConfig], type[Method] | None]:
    found = dict(pair for module in option_modules("prune.pruning.methods", "prune.methods") for pair in _methods_of(module))
    names: dict[str, type[Any]] = {}
    for config in found:
        name = default_name(config)
        if name in names:
            raise UserError(
                f"Two methods are named {name}: {names[name].__module__} and {config.__module__}. Rename one, or uninstall "
                "it."
            )
        names[name] = config
    return found


def default_name(config: type[MethodConfig]) -> str:
    """The name of a method, which its option in conf/method/ has too."""
    (name,) = [field.default for field in fields(config) if field.name == "name"]
    return str(name)


METHODS = _find_methods()
"""Configuration class -> method, which has the fields of its configuration as parameters; None for dense."""


def build_method(config: MethodConfig) -> Method:
    """The method that a configuration asks for."""
    shared = {field.name for field in fields(MethodConfig)}
    knobs = {field.name: getattr(config, field.name) for field in fields(config) if field.name not in shared}
    method = METHODS[type(config)]
    assert method is not None, "dense prunes nothing"
    return method(**knobs)


def needs_inputs(config: MethodConfig) -> bool:
    """Whether the method of a configuration looks at a calibration set."""
    method: Any = METHODS[type(config)]
    return method is not None and bool(method.needs_inputs)
