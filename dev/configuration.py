"""Writes docs/configuration.md: every key of the typed configuration, from the classes that define it.

    python -m dev.configuration

A test compares the file with `render()`, and its keys with those of every option in conf/. What a key means is the text
under its field, in the class that holds it. Defaults are those of the code, and null for the keys that conf/config.yaml
leaves to the model.
"""

import ast
import inspect
import re
import typing
from collections.abc import Collection, Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from prune.config.checks import MISSING
from prune.config.config import FROM_MODEL, Config
from prune.sweep.launchers.slurm.config import SlurmLauncherConfig, long_option
from prune.sweep.schemas import SCHEMAS

FILE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"

GROUPS: dict[str, type[Any]] = {
    name: kind for name, kind in typing.get_type_hints(Config).items() if is_dataclass(kind) and isinstance(kind, type)
}
"""Group of conf/ -> the class that all its options share."""

ABOUT = {
    "calib": "The calibration set: which rows, how many, which draw. A set ignores the keys of other kinds of set.",
    "select": "Which rows or windows of a pool are taken.",
    "weight": "What a token counts in the statistics.",
    "method": "How a linear is pruned.",
    "sparsity": "How many weights are removed, and in which pattern.",
    "eval": "Which scores are measured, and how: [scores](scores.md).",
    "tracker": "Where results are mirrored: [W&B](wandb.md).",
    "launcher": "Where cells run, and what the same line does next time.",
    "merge": "The cells that a merged cell averages; `python -m prune.merge` sets these.",
}
"""What a group is about, where the text of its class does not say it to a user."""

_OPTION = {"name": "The option of the group, which its file in conf/ sets."}

HEAD = """# Every key

Made by `python -m dev.configuration` from the typed configuration; a test fails when it is out of date.

A line sets a key as `group.key=value`, and in a grid (`-m`) to several values with commas between them. A value of another
type, one that means nothing, or a key that does not exist is refused before anything runs. `python -m prune.main --help`
prints the keys with their values under any line.

- **null** means what the text says of it. {from_model} are null until a line
  sets them: then the model's value counts.
- **required** keys are given by the option (`calib=c4` sets `calib.name`) or have to be typed.
- A value with special characters is quoted twice, as in `'model.path="/models/a, b"'`. A mapping or a list is quoted for the
  shell: `'calib.parts={{c4: 0.5, gsm8k: 0.5}}'`.
"""


def render() -> str:
    """The whole file."""
    named = ", ".join(f"`{path}`" for path in FROM_MODEL)
    parts = [HEAD.format(from_model=named), "## The line as a whole\n\n" + _table(_own(Config, without=GROUPS), "")]
    for group, shared in GROUPS.items():
        parts.append(f"## {group}\n\n{ABOUT.get(group) or _first(shared)}\n\n" + _table(_own(shared), group))
        parts += list(_options(group, shared))
    return "\n".join(part.rstrip() + "\n" for part in parts)


def keys() -> set[str]:
    """Every key that the file describes."""
    own = {key for key, _ in _own(Config, without=GROUPS)}
    shared = {f"{group}.{key}" for group, kind in GROUPS.items() for key, _ in _own(kind)}
    of_options = {f"{path.partition('/')[0]}.{key}" for path, kind in SCHEMAS.items() for key, _ in _own(kind)}
    return own | shared | of_options


def _options(group: str, shared: type[Any]) -> Iterator[str]:
    """What the options of a group have beside the keys that all share: a table for those with the same keys."""
    known = {entry.name for entry in fields(shared)}
    kinds = {path.partition("/")[2]: kind for path, kind in SCHEMAS.items() if path.startswith(f"{group}/")}
    own = {name: tuple(entry.name for entry in fields(kind) if entry.name not in known) for name, kind in kinds.items()}
    for keys_of in dict.fromkeys(own.values()):
        names = [name for name in own if own[name] == keys_of]
        listed = ", ".join(f"`{group}={name}`" for name in names)
        parts = [f"`{group}={name}`" for name in own if 0 < len(own[name]) < len(keys_of)]
        if not keys_of:
            yield f"No further keys: {listed}."
        elif set(keys_of) <= {key for other in set(own.values()) if len(other) < len(keys_of) for key in other}:
            yield f"{listed} {'takes' if len(names) == 1 else 'take'} the keys of {' and '.join(parts)}."
        else:
            said = (
                " ".join(_first(kinds[name]) for name in names)
                if len(names) == 1
                else f"{listed}. {_base_text(kinds[names[0]])}"
            )
            described = [(key, entry) for key, entry in _own(kinds[names[0]]) if key in keys_of]
            yield f"### {group}={names[0] if len(names) == 1 else ', '.join(names)}\n\n{said}\n\n" + _table(described, group)


def _base_text(kind: type[Any]) -> str:
    """What the class says that several options extend."""
    return _first(kind.__mro__[1])


def _own(kind: type[Any], without: Collection[str] = ()) -> list[tuple[str, "Described"]]:
    """The keys of a class of the configuration, in its order."""
    texts = field_texts(kind)
    hints = typing.get_type_hints(kind, include_extras=False)
    kept = [entry for entry in fields(kind) if entry.name not in without]
    sbatch = "As sbatch's `--{}`." if issubclass(kind, SlurmLauncherConfig) else ""
    return [
        (entry.name, Described(entry, hints[entry.name], texts.get(entry.name, ""), sbatch.format(long_option(entry.name))))
        for entry in kept
    ]


class Described:
    """A key with its type and its text."""

    def __init__(self, entry: "Field[Any]", hint: Any, text: str, otherwise: str) -> None:
        self.type, self.default = _type(hint), _default(entry)
        self.text = text or _choice_text(hint) or _OPTION.get(entry.name, otherwise)


def _table(entries: list[tuple[str, Described]], group: str) -> str:
    prefix = f"{group}." if group else ""
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, entry in entries:
        default = "null" if f"{prefix}{key}" in FROM_MODEL else entry.default
        lines.append(f"| `{prefix}{key}` | {entry.type} | {default} | {_cell(entry.text)} |")
    return "\n".join(lines)


def _type(hint: Any) -> str:
    """A type in words: `int or null`, `one of a, b`."""
    if typing.get_origin(hint) in (UnionType, typing.Union):
        parts = [_type(one) for one in typing.get_args(hint) if one is not NoneType]
        return " or ".join([*parts, "null"])
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(f"`{one.name}`" for one in hint)
    if hint is Any:
        return "mapping"
    if typing.get_origin(hint) is list:
        return f"list of {_type(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is dict:
        return "mapping"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        hint.__name__, hint.__name__
    )


def _default(entry: "Field[Any]") -> str:
    value = entry.default
    if value is NO_DEFAULT:
        value = entry.default_factory() if entry.default_factory is not NO_DEFAULT else MISSING
    if value == MISSING:
        return "required"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Enum):
        return f"`{value.name}`"
    if isinstance(value, list):
        return f"`[{', '.join(one.name if isinstance(one, Enum) else str(one) for one in value)}]`"
    return f"`{value!r}`" if isinstance(value, str) and (not value or not value.isprintable()) else f"`{value}`"


def _choice_text(hint: Any) -> str:
    """What stands under the class of an enumeration, and under its values, for a key without a text of its own."""
    kinds = [one for one in (hint, *typing.get_args(hint)) if isinstance(one, type) and issubclass(one, Enum)]
    return " ".join(_enum_text(kind) for kind in kinds)


def _enum_text(kind: type[Enum]) -> str:
    of_values = [f"`{name}`: {text}" for name, text in field_texts(kind).items() if name in kind.__members__]
    return " ".join([_first(kind), *of_values])


def field_texts(kind: type[Any]) -> dict[str, str]:
    """Field -> the text under it, of a class and those that it extends."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if each.__module__.partition(".")[0] == "prune":
            found |= _texts_of(each)
    return found


def _texts_of(kind: type[Any]) -> Iterator[tuple[str, str]]:
    tree = ast.parse(inspect.getsource(kind))
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef)]
    for node, after in pairwise(body):
        named = node.target if isinstance(node, ast.AnnAssign) else node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(named, ast.Name) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            yield named.id, inspect.cleandoc(str(after.value.value))


def _first(kind: type[Any]) -> str:
    """The first paragraph of a class's docstring."""
    return _words((inspect.getdoc(kind) or "").partition("\n\n")[0])


def _words(text: str) -> str:
    """A text on one line, with null for what Python calls None."""
    return re.sub(r"\bNone\b", "null", " ".join(text.split()))


def _cell(text: str) -> str:
    """A text as it may stand in a table."""
    outside_code = re.sub(r"(`[^`]*`)|<(\w+)>", lambda found: found[1] or f"&lt;{found[2]}&gt;", _words(text))
    return outside_code.replace("|", "\\|")


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
