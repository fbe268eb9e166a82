"""What a user reads when something is wrong: Hydra's and OmegaConf's exceptions, put into one message each."""

import difflib
import sys
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from prune.errors import UserError


def report(message: str) -> None:
    """Print `message` for the user, on the error stream."""
    print(f"prune: {message}", file=sys.stderr)


def nearest(name: str, names: Iterable[str]) -> str:
    """`Did you mean a or b? ` for the names most like `name`, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=3)
    return f"Did you mean {' or '.join(close)}? " if close else ""


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
