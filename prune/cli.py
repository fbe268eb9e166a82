"""What a user reads when something is wrong: Hydra's and OmegaConf's exceptions, put into one message each."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from prune.config.folders import options_of, user_folders
from prune.errors import SweepFailedError, UserError, nearest

USAGE = """\
Find the calibration data that hurts a pruned language model least.

  python -m prune.main                                          one cell: the embedded model on sample data
  python -m prune.main -m calib=gsm8k,c4,pile prompt=icl,cot    a grid: every combination, each cell once
  python -m prune.main model=hf model.path=FOLDER data=local data.root=DIR

Results: outputs/cells/<id>/result.json, one folder a cell. The same line again does only what is missing."""

_PACKAGE = Path(__file__).resolve().parent

CONFIG_DIR = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())
"""conf/ as a wheel carries it, or beside the package in a checkout."""

WANTS_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"


def report(message: str) -> None:
    """Print `message` for the user, on the error stream."""
    print(f"prune: {message}", file=sys.stderr)


def explain(error: BaseException) -> str | None:
    """The message for an error that the user can mend; None for any other."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(error, UserError):
        return str(error)
    if isinstance(cause, MissingMandatoryValue):
        return f"{_path(cause)} has no value. Give it one on the command line: {_path(cause)}=VALUE."
    if isinstance(cause, ConfigKeyError | AttributeError) and isinstance(cause, OmegaConfBaseException):
        return _explain_key(cause)
    if isinstance(cause, OmegaConfBaseException):
        return f"{_path(cause)}: {_first_line(cause)}."
    if isinstance(error, HydraException):
        return _explain_hydra(error)
    return None


def _explain_key(cause: OmegaConfBaseException) -> str:
    path = _path(cause)
    parent, _, key = path.rpartition(".")
    allowed = _keys(cause.object_type)
    prefix = f"{parent}." if parent else ""
    listed = ", ".join(f"{prefix}{name}" for name in allowed) or "no keys here"
    return f"{path} does not exist. {nearest(key, allowed)}Allowed: {listed}."


def _explain_hydra(error: HydraException) -> str:
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} is not an override like key=value: {_first_line(error)}."
    text = str(error).split("Config search path:")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and "Could not find '" in lines[0]:
        group, _, option = lines[0].split("Could not find '")[1].rstrip("'").rpartition("/")
        options = [line for line in lines[1:] if not line.endswith(":")]
        return f"{group}={option} does not exist. {nearest(option, options)}Allowed: {', '.join(options)}."
    return " ".join(lines)


def _path(error: OmegaConfBaseException) -> str:
    return error.full_key or str(error.key or "the configuration")


def _keys(kind: Any) -> list[str]:
    return [entry.name for entry in fields(kind)] if is_dataclass(kind) else []


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip(".")


def help_text(config_dir: Path, overrides: Sequence[str]) -> str:
    """The help, with the keys as they are under `overrides`.

    Hydra's own template lists the schemas beside the options, and takes seconds to do so.
    """
    groups: dict[str, list[str]] = {}
    for folder in (config_dir, *user_folders()):
        for group, names in options_of(folder).items():
            groups.setdefault(group, []).extend(names)
    options = "\n".join(f"  {group + ':':<12}{', '.join(sorted(set(names)))}" for group, names in sorted(groups.items()))
    with initialize_config_dir(str(config_dir), version_base="1.3"):
        keys = OmegaConf.to_yaml(compose("config", overrides=list(overrides)))
    return "\n\n".join(
        [
            USAGE,
            f"Groups and their options (group=option; in a grid group=option,option):\n\n{options}",
            f"Keys and their defaults (key=value; in a grid key=value,value), described in prune/config/:\n\n{keys}",
            "Hydra's own flags: --hydra-help.",
        ]
    )


@contextmanager
def leave_on_error() -> Iterator[None]:
    """End the process with one message and 2 after wrong use, with 130 after Ctrl-C; let any other error pass."""
    try:
        yield
    except KeyboardInterrupt as stop:
        report(str(stop) or "Stopped. Finished cells are kept; the same line again goes on from here.")
        sys.exit(130)
    except SweepFailedError as failed:
        sys.exit(failed.exit_code)
    except Exception as error:
        message = explain(error)
        if message is None or WANTS_TRACEBACK:
            raise
        report(message)
        sys.exit(2)
