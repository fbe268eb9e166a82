"""Modules that define options: those of a folder of ours, and those of installed packages that name them as entry points."""

from __future__ import annotations

import functools
import hashlib
import importlib
import pkgutil
import sys
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from prune.errors import UserError

GROUPS = ("prune.datasets", "prune.kinds", "prune.methods", "prune.scores", "prune.selectors", "prune.weights")
"""Groups of entry points whose code is part of what identifies a cell or a score."""


def option_modules(package: str, group: str) -> list[ModuleType]:
    """The modules of one of our packages, by name, then those that entry points of `group` name.

    Raises:
        UserError: an installed package names a module that cannot be imported.
    """
    folder = importlib.import_module(package)
    own = [importlib.import_module(f"{package}.{found.name}") for found in pkgutil.iter_modules(folder.__path__)]
    return own + [_load(point) for point in _points(group)]


def extension_identity(module: str) -> dict[str, Any] | None:
    """What tells the code of an extension from other code of the same name; None for modules of this package.

    That is the distribution with its version, and the SHA-256 of the module's file: an edit in place counts too.
    """
    if module.partition(".")[0] == __name__.partition(".")[0]:
        return None
    path = getattr(sys.modules.get(module), "__file__", None)
    sha256 = None if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()
    distribution = _distributions().get(module)
    return {
        "distribution": distribution and distribution.name,
        "version": distribution and distribution.version,
        "module": module,
        "sha256": sha256,
    }


@functools.cache
def _points(group: str) -> tuple[EntryPoint, ...]:
    return tuple(sorted(entry_points(group=group), key=lambda point: point.name))


@functools.cache
def _distributions() -> dict[str, Distribution]:
    """The distributions of the entry points that were loaded, by module."""
    points = [point for group in GROUPS for point in _points(group)]
    return {point.module: point.dist for point in points if point.dist is not None}


def _load(point: EntryPoint) -> ModuleType:
    try:
        return importlib.import_module(point.module)
    except Exception as error:
        owner = point.dist.name if point.dist is not None else "an installed package"
        raise UserError(
            f"{owner} offers {point.name} ({point.group}), and its module {point.module} cannot be imported: "
            f"{type(error).__name__}: {error}. Fix it, or uninstall it: pip uninstall {owner}"
        ) from error
