"""Composes a grid: each distinct choice once, the points assembled from the choices.

Hydra takes a tenth of a second to compose a point. A point differs from the first one in the overrides of a few groups, and
what a group holds depends on the overrides of that group alone (references to other groups, like ${model.seq_len}, are kept
as they are until the point is read). So the first point is composed, then it again with the overrides of one group changed,
for each choice in that group; a point takes each of its groups from there. Overrides that may reach further (experiment,
hydra, additions and deletions) are not taken apart: such points are composed whole.
"""

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from omegaconf import DictConfig, flag_override

Overrides: TypeAlias = tuple[str, ...]
ComposeWhole: TypeAlias = Callable[[list[str]], DictConfig]

FAR_REACHING = ("experiment", "hydra")
"""Keys whose overrides may change any group."""


def compose_points(job_overrides: Sequence[Sequence[str]], compose: ComposeWhole) -> list[DictConfig]:
    """The configurations of all points, in order; equal to `compose` on each of them.

    Args:
        job_overrides: of each point, the same keys in the same order (as a product makes them).
        compose: Hydra's own composition of one point.
    """
    points = [_by_group(overrides) for overrides in job_overrides]
    if not points or any(None in point or point.keys() != points[0].keys() for point in points):
        return [compose(list(overrides)) for overrides in job_overrides]
    first = points[0]
    base = compose(list(job_overrides[0]))
    choices: dict[tuple[str, Overrides], DictConfig] = {}
    for point in points:
        for group, overrides in point.items():
            if group is not None and overrides != first[group] and (group, overrides) not in choices:
                changed = first | {group: overrides}
                choices[group, overrides] = compose([override for part in changed.values() for override in part])
    return [_assemble(base, [choices[item] for item in point.items() if item in choices], point, first) for point in points]


def _assemble(
    base: DictConfig, parts: Sequence[DictConfig], point: dict[str | None, Overrides], first: dict[str | None, Overrides]
) -> DictConfig:
    """`base` with each group that `point` chose otherwise taken from the part composed for it."""
    config = base.copy()
    changed = [group for group, overrides in point.items() if overrides != first[group]]
    with flag_override(config, ["struct", "readonly"], False):
        for group, part in zip(changed, parts, strict=True):
            assert group is not None
            config[group] = part[group]
    return config


def _by_group(overrides: Sequence[str]) -> dict[str | None, Overrides]:
    """The overrides by the group (top-level key) that they change, in order; under None those that may reach further."""
    groups: dict[str | None, Overrides] = {}
    for override in overrides:
        key = re.split(r"[.=]", override, maxsplit=1)[0]
        group = None if not key.isidentifier() or key in FAR_REACHING else key
        groups[group] = (*groups.get(group, ()), override)
    return groups
