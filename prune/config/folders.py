"""The shipped conf/, and folders of YAML beside it: options of a user's own, found by every command.

In this order: what `--config-dir` names (main only), what PRUNE_CONFIG_DIR names (several, with `:` between), and `prune`
in the user's configuration folder (XDG_CONFIG_HOME, else ~/.config). Each is laid out as conf/ is.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from prune.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]

CONFIG_DIR = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())
"""conf/ as a wheel carries it, or beside the package in a checkout."""

VARIABLE = "PRUNE_CONFIG_DIR"
PERSONAL = "local"
"""The group of what a user sets once for all lines; a file there may stand in several folders, and the first one counts."""


def user_folders(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """The folders that hold options of the user's own.

    Raises:
        UserError: PRUNE_CONFIG_DIR names something that is not a folder.
    """
    named = [Path(part).expanduser() for part in environment.get(VARIABLE, "").split(os.pathsep) if part]
    for folder in named:
        if not folder.is_dir():
            raise UserError(f"{VARIABLE}={folder}: there is no such folder. Make it, or unset {VARIABLE}.")
    home = Path(environment.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "prune"
    return [folder.resolve() for folder in [*named, home] if folder.is_dir()]


def options_of(folder: Path) -> dict[str, list[str]]:
    """The options in a folder laid out as conf/, by group."""
    return {
        group.name: sorted(file.stem for file in group.glob("*.yaml"))
        for group in sorted(folder.iterdir())
        if group.is_dir() and not group.name.startswith(".")
    }


def check_folders(shipped: Path, folders: Sequence[Path]) -> None:
    """Refuse an option that stands in two folders: one would silently hide the other.

    Raises:
        UserError: an option of the user's has a name that is already taken.
    """
    places = {(group, name): shipped for group, names in options_of(shipped).items() for name in names}
    for folder in folders:
        for group, names in options_of(folder).items():
            for name in names:
                first = places.setdefault((group, name), folder)
                if first != folder and group != PERSONAL:
                    raise UserError(
                        f"{group}={name} is defined twice: {first / group / name}.yaml and {folder / group / name}.yaml. "
                        "Rename one of the files."
                    )
