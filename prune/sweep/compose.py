"""Composes a grid: each distinct option once, the typed configurations of the points put together from what was composed.

Hydra takes a tenth of a second to compose a point. A point differs from the first one in the overrides of a few groups, and
what a group holds depends on the overrides of that group alone. So the first point is composed, and then composed again with
another option of one group, for each option that the grid names; values inside a group are set on a copy of its option, as
Hydra sets them. A point takes each of its groups from there. An experiment that all points share is part of each
composition. Points with overrides that may reach further (several experiments, hydra, additions and deletions) are composed
whole.
"""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from prune.config.config import Config
from prune.errors import UserError
from prune.messages.hydra_words import unknown_key
from prune.messages.key_words import GROUPS
from prune.messages.line_checks import list_for_a_group

Overrides: TypeAlias = tuple[str, ...]
Point: TypeAlias = dict[str, Overrides]
"""The overrides of a point by the group (top-level key) that they change, in order."""
Choice: TypeAlias = tuple[str, Overrides]
"""A group and its overrides in a point."""
ComposeWhole: TypeAlias = Callable[[list[str]], DictConfig]

EXPERIMENT = "experiment"
"""The key whose override may change any group: it is the same in all points, or they are composed whole."""

_REFERENCE = re.compile(r"\$\{[^:{}]*\}")
"""An interpolation that takes the value of a key, unlike one with a resolver (`${oc.env:HOME}`)."""


def to_config(composed: DictConfig) -> Config:
    """The typed configuration of what Hydra composed; below this nobody sees a DictConfig."""
    composed = _without_hydra(composed)
    _check_keys(composed)
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    return config


def check_choices(choices: Mapping[str, Any]) -> None:
    """Make sure that one option was chosen in each group; `choices` is what Hydra keeps of them.

    Raises:
        UserError: a file of the configuration chose a list of options in one, of which only the last would count.
    """

    for group in GROUPS:
        if not isinstance(choices.get(group), str):
            raise list_for_a_group(group, [])


def _check_keys(node: DictConfig, path: str = "") -> None:
    """Make sure that nothing was added to the typed configuration, as +key=value does.

    Raises:
        UserError: a key is not one of its class.
    """

    kind = OmegaConf.get_type(node)
    names = {entry.name for entry in fields(kind)} if is_dataclass(kind) else None
    for key in map(str, node):
        where = f"{path}.{key}" if path else key
        if names is not None and key not in names:
            raise UserError(unknown_key(where))
        child = None if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key) else node[key]
        if isinstance(child, DictConfig):
            _check_keys(child, where)


def compose_points(job_overrides: Sequence[Sequence[str]], compose: ComposeWhole) -> list[Config]:
    """The configurations of all points, in order; equal to those of `compose` on each of them.

    Args:
        job_overrides: of each point.
        compose: Hydra's own composition of one point.
    """
    points = [_by_group(overrides) for overrides in job_overrides]
    groups = [point for point in points if point is not None]
    experiments = {point.get(EXPERIMENT) for point in groups}
    if not points or len(groups) < len(points) or len(experiments) > 1:
        return [to_config(compose(list(overrides))) for overrides in job_overrides]
    assembly = _Assembly(groups[0], list(job_overrides[0]), compose)
    return [assembly.config(point) for point in groups]


class _Assembly:
    """Composes an option when it is first met, and makes each group's typed value once for all points that share it."""

    def __init__(self, first: Point, overrides: list[str], compose: ComposeWhole) -> None:
        self._first, self._compose = first, compose
        self._base = _without_hydra(compose(overrides))
        self._keys = [str(key) for key in self._base]
        self._parser = OverridesParser.create()
        self._selected: dict[Choice, DictConfig] = {}
        self._nodes: dict[Choice, Any] = {}
        self._referring: set[Choice] = set()
        self._values: dict[Choice, Any] = {}

    def config(self, point: Point) -> Config:
        """The configuration of a point."""
        choices = [(key, point.get(key, ())) for key in self._keys]
        nodes = {choice[0]: self._node(choice) for choice in choices}
        if self._referring.isdisjoint(choices):
            return Config(**{choice[0]: self._value(choice) for choice in choices})
        whole = self._base.copy()
        for key, node in nodes.items():
            whole[key] = node
        return to_config(whole)

    def _value(self, choice: Choice) -> Any:
        """The typed value of a group."""
        if choice not in self._values:
            node = self._node(choice)
            self._values[choice] = OmegaConf.to_object(node) if isinstance(node, DictConfig) else node
        return self._values[choice]

    def _node(self, choice: Choice) -> Any:
        """What a group holds under its overrides: the option that they select, with the values that they set."""
        if choice not in self._nodes:
            self._nodes[choice] = node = self._make_node(*choice)
            if _REFERENCE.search(str(OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else node)):
                self._referring.add(choice)
        return self._nodes[choice]

    def _make_node(self, group: str, overrides: Overrides) -> Any:
        if overrides == self._first.get(group, ()):
            return _get(self._base, group)
        node = copy.deepcopy(_get(self._select(group, tuple(filter(_is_selection, overrides))), group))
        for override in overrides:
            if not _is_selection(override):
                parsed = self._parser.parse_override(override)
                OmegaConf.update(node, parsed.key_or_group.partition(".")[2], parsed.value(), merge=True)
        return node

    def _select(self, group: str, selection: Overrides) -> DictConfig:
        """A whole configuration whose `group` is the option of `selection`."""
        if (group, selection) not in self._selected:
            changed = self._first | {group: selection}
            overrides = [override for part in changed.values() for override in part]
            self._selected[group, selection] = _without_hydra(self._compose(overrides))
        return self._selected[group, selection]


def _without_hydra(composed: DictConfig) -> DictConfig:
    """A copy of what Hydra composed, of the cell's keys only."""
    composed = composed.copy()
    with open_dict(composed):
        composed.pop("hydra", None)
    return composed


def _get(node: DictConfig, key: str) -> Any:
    """The value of a key; a reference to another key as it is written."""
    written = OmegaConf.to_container(node, resolve=False)
    assert isinstance(written, dict)
    return written[key] if _REFERENCE.search(str(written[key])) and OmegaConf.is_interpolation(node, key) else node[key]


def _is_selection(override: str) -> bool:
    """Whether an override chooses an option or sets a whole key, unlike one of a value inside a group."""
    return "." not in override.partition("=")[0]


def _by_group(overrides: Sequence[str]) -> Point | None:
    """The overrides by group; None when one may reach further."""
    groups: Point = {}
    for override in overrides:
        key = re.split(r"[.=]", override, maxsplit=1)[0]
        if not key.isidentifier() or key == "hydra":
            return None
        groups[key] = (*groups.get(key, ()), override)
    return groups
