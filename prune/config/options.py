"""Options of an axis that are found by themselves: a dataclass `<Name>Config` of knobs, a class `<Name>` that takes them.

Each is one module of a folder of ours, or of an installed package that names it as an entry point.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from types import ModuleType
from typing import Any, TypeVar

from prune.config.extensions import extension_identity, option_modules
from prune.errors import UserError

Knobs = TypeVar("Knobs")

Options = Mapping[type[Knobs], type[Any] | None]
"""Class of the knobs -> the class that does it, with the knobs as parameters; None where there is nothing to do."""


def find_options(
    package: str, group: str, base: type[Knobs], what: str, nothing: type[Knobs] | None = None
) -> Options[Knobs]:
    """The options in the modules of `package`, and in those that entry points of `group` name; `what` is the word for one.

    Args:
        base: the class of the knobs that all share.
        nothing: knobs that need no class beside them.

    Raises:
        UserError: knobs stand alone, or two options have one name.
    """
    found = dict(pair for module in option_modules(package, group) for pair in _options_of(module, base, what, nothing))
    names: dict[str, type[Any]] = {}
    for config in found:
        name = default_name(config)
        if name in names:
            first, second = names[name].__module__, config.__module__
            raise UserError(f"Two {what}s are named {name}: {first} and {second}. Rename one, or uninstall it.")
        names[name] = config
    return found


def _options_of(
    module: ModuleType, base: type[Knobs], what: str, nothing: type[Knobs] | None
) -> Iterator[tuple[type[Knobs], type[Any] | None]]:
    """The classes of knobs that `module` defines, each with what does it."""
    for name, kind in vars(module).items():
        if isinstance(kind, type) and issubclass(kind, base) and kind.__module__ == module.__name__:
            does = getattr(module, name.removesuffix("Config"), None)
            if kind is not nothing and (not isinstance(does, type) or does is kind):
                raise UserError(
                    f"{module.__name__} defines the knobs {name} and no {what} for them. Name the knobs <Name>Config and "
                    f"the {what} <Name>."
                )
            yield kind, does


def default_name(config: type[Any]) -> str:
    """The name of an option, which its file in conf/ has too."""
    (name,) = [field.default for field in fields(config) if field.name == "name"]
    return str(name)


def own_knobs(config: Any, base: type[Any]) -> dict[str, Any]:
    """The knobs that `config` has beside those of `base`."""
    shared = {field.name for field in fields(base)}
    return {field.name: getattr(config, field.name) for field in fields(config) if field.name not in shared}


def option_identity(config: Any) -> dict[str, Any]:
    """Plain values of all knobs but the name, with the class, and the code where it is an extension's."""
    knobs = {field.name: getattr(config, field.name) for field in fields(config) if field.name != "name"}
    plain = {key: value.value if hasattr(value, "value") else value for key, value in knobs.items()}
    extension = extension_identity(type(config).__module__)
    return {"class": type(config).__name__, **plain} | ({"extension": extension} if extension is not None else {})
