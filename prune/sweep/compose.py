"""Composes a grid: each distinct option once, the typed configurations of the points put together from what was composed.

Hydra takes a tenth of a second to compose a point. A point differs from the first one in the overrides of a few groups, and
what a group holds depends on the overrides of that group alone, and on the groups that it refers to (like ${model.seq_len}).
So the first point is composed, then it again with another option of one group, for each option that the grid names; values
inside a group are set on a copy of its option, as Hydra sets them. A point takes each of its groups from there. Overrides
that may reach further (experiment, hydra, additions and deletions) are not taken apart: such points are composed whole.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import Container, DictConfig, Node, OmegaConf, flag_override, open_dict

from prune.config.config import Config
from prune.errors import UserError

Overrides: TypeAlias = tuple[str, ...]
Point: TypeAlias = dict[str, Overrides]
"""The overrides of a point by the group (top-level key) that they change, in order."""
ComposeWhole: TypeAlias = Callable[[list[str]], DictConfig]

FAR_REACHING = ("experiment", "hydra")
"""Keys whose overrides may change any group."""


def to_config(composed: DictConfig) -> Config:
    """The typed configuration of what Hydra composed; below this nobody sees a DictConfig."""
    composed = composed.copy()
    if "hydra" in composed:
        with open_dict(composed):
            del composed["hydra"]
    _check_keys(composed)
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    return config


def check_choices(choices: Mapping[str, Any]) -> None:
    """Make sure that one option was chosen in each group; `choices` is what Hydra keeps of them.

    Raises:
        UserError: a file of the configuration chose a list of options in one, of which the last would count.
    """
    from prune.messages.key_words import GROUPS
    from prune.messages.line_checks import list_for_a_group

    for group in GROUPS:
        if not isinstance(choices.get(group), str):
            raise list_for_a_group(group, [])


def _check_keys(node: DictConfig, path: str = "") -> None:
    """Make sure that nothing was added to the typed configuration, as +key=value does.

    Raises:
        UserError: a key is not one of its class.
    """
    from prune.messages.hydra_words import unknown_key

    kind = OmegaConf.get_type(node)
    names = {entry.name for entry in fields(kind)} if is_dataclass(kind) else None
    for key in node:
        where = f"{path}.{key!s}" if path else str(key)
        if names is not None and key not in names:
            raise UserError(unknown_key(where))
        child = node._get_node(key)
        if (
            isinstance(child, DictConfig)
            and not child._is_none()
            and not child._is_missing()
            and not child._is_interpolation()
        ):
            _check_keys(child, where)


def compose_points(job_overrides: Sequence[Sequence[str]], compose: ComposeWhole) -> list[Config]:
    """The configurations of all points, in order; equal to those of `compose` on each of them.

    Args:
        job_overrides: of each point, the same keys in the same order (as a product makes them).
        compose: Hydra's own composition of one point.
    """
    points = [_by_group(overrides) for overrides in job_overrides]
    groups = [point for point in points if point is not None]
    if not points or len(groups) < len(points) or any(point.keys() != groups[0].keys() for point in groups):
        return [to_config(compose(list(overrides))) for overrides in job_overrides]
    assembly = _Assembly(groups[0], list(job_overrides[0]), compose)
    return [assembly.config(point) for point in groups]


class _Assembly:
    """Composes a selection when it is first met, and makes each group's typed value once for all points that share it."""

    def __init__(self, first: Point, overrides: list[str], compose: ComposeWhole) -> None:
        self._first, self._compose = first, compose
        self._base = compose(overrides)
        self._keys = [str(key) for key in self._base if key != "hydra"]
        self._parser = OverridesParser.create()
        self._selected: dict[tuple[str, Overrides], DictConfig] = {}
        self._nodes: dict[tuple[str, Overrides], Node] = {}
        self._references: dict[tuple[str, Overrides], list[str]] = {}
        self._roots: dict[tuple[tuple[str, Overrides], ...], DictConfig] = {}
        self._values: dict[tuple[tuple[str, Overrides], ...], Any] = {}

    def config(self, point: Point) -> Config:
        """The configuration of a point."""
        return Config(**{key: self._value(key, point) for key in self._keys})

    def _value(self, group: str, point: Point) -> Any:
        """The typed value of a group, which depends on its own choice and on those of the groups that it refers to."""
        needed = [(name, point.get(name, ())) for name in self._needed(group, point)]
        identity = tuple(needed)
        if identity not in self._values:
            node = copy.deepcopy(self._node(*needed[0]))
            node._set_parent(self._root(tuple(needed[1:])))
            self._values[identity] = OmegaConf.to_object(node) if isinstance(node, Container) else node._value()
        return self._values[identity]

    def _needed(self, group: str, point: Point) -> list[str]:
        """The group and all that it refers to, directly or not."""
        needed = [group]
        for name in needed:  # grows while it is walked
            choice = name, point.get(name, ())
            if choice not in self._references:
                self._references[choice] = sorted(set(_references(self._node(*choice), self._keys)))
            needed += [other for other in self._references[choice] if other not in needed]
        return needed

    def _root(self, choices: tuple[tuple[str, Overrides], ...]) -> DictConfig:
        """A whole configuration in which these groups are as chosen."""
        changed = tuple(choice for choice in choices if choice[1] != self._first.get(choice[0], ()))
        if changed not in self._roots:
            root = self._base.copy()
            with flag_override(root, ["struct", "readonly"], False):
                for group, overrides in changed:
                    root[group] = self._node(group, overrides)
            self._roots[changed] = root
        return self._roots[changed]

    def _node(self, group: str, overrides: Overrides) -> Node:
        """What a group holds under its overrides: the option that they select, with the values that they set."""
        if (group, overrides) not in self._nodes:
            self._nodes[group, overrides] = self._make_node(group, overrides)
        return self._nodes[group, overrides]

    def _make_node(self, group: str, overrides: Overrides) -> Node:
        if overrides == self._first.get(group, ()):
            node = self._base._get_node(group)
            assert isinstance(node, Node), (group, node)
            return node
        selection = tuple(override for override in overrides if _is_selection(override))
        node = copy.deepcopy(self._select(group, selection)._get_node(group))
        assert isinstance(node, Node), (group, node)
        for override in overrides:
            if not _is_selection(override):
                assert isinstance(node, Container), (group, override)
                parsed = self._parser.parse_override(override)
                OmegaConf.update(node, parsed.key_or_group.partition(".")[2], parsed.value(), merge=True)
        return node

    def _select(self, group: str, selection: Overrides) -> DictConfig:
        """A whole configuration whose `group` is the option of `selection`."""
        if (group, selection) not in self._selected:
            changed = self._first | {group: selection}
            self._selected[group, selection] = self._compose([override for part in changed.values() for override in part])
        return self._selected[group, selection]


def _is_selection(override: str) -> bool:
    """Whether an override chooses an option or sets a whole key, unlike one of a value inside a group."""
    return "." not in override.partition("=")[0]


def _references(node: Node, keys: Sequence[str]) -> Iterator[str]:
    """The groups that the values below `node` refer to; all of `keys` when a reference is relative."""
    content = OmegaConf.to_container(node, resolve=False) if isinstance(node, Container) else node._value()
    for path in re.findall(r"\$\{\s*([^:}]*)\}", str(content)):
        name = re.split(r"[.\[]", path, maxsplit=1)[0].strip()
        if name in keys:
            yield name
        else:
            yield from keys


def _by_group(overrides: Sequence[str]) -> Point | None:
    """The overrides by group; None when one may reach further."""
    groups: Point = {}
    for override in overrides:
        key = re.split(r"[.=]", override, maxsplit=1)[0]
        if not key.isidentifier() or key in FAR_REACHING:
            return None
        groups[key] = (*groups.get(key, ()), override)
    return groups
