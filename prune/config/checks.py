"""Checks of single values of the configuration, and the marks of one that has to be given or that the model gives."""

import math
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypeAlias, TypeVar

from prune.errors import UserError

MISSING: Any = "???"
"""What omegaconf takes for a value that has to be given: its own constant, for where omegaconf is not installed."""

if TYPE_CHECKING:
    Value = TypeVar("Value")
    FromModel: TypeAlias = Annotated[Value, "null takes the model's"]
else:
    FromModel = Optional
    """The type of a value that may be null on a line or in a file: `Config` then takes the model's value of the same name.
    Whoever reads a `Config` finds a value."""


def reject(path: str, value: object, allowed: str) -> None:
    """Refuse `value` of the key `path`, saying what is allowed."""
    raise UserError(f"{path}={value} is not possible: {allowed}.")


def require_at_least(path: str, value: int | None, least: int) -> None:
    """Refuse a number below `least`; None passes."""
    if value is not None and value < least:
        reject(path, value, f"it must be a whole number of at least {least}")


def require_damping(value: float, example: float) -> None:
    """Refuse a damping of a Hessian that is below 0, infinite or not a number."""
    if not 0 <= value < math.inf:
        reject("method.damping", value, f"it must be a number of 0 or more, as in method.damping={example}")


def unescaped(path: str, text: str) -> str:
    r"""The text with line breaks and tabs where \n and \t stand, which a shell and Hydra leave as they are.

    Raises:
        UserError: a backslash stands before anything else.
    """
    found = text.replace(r"\n", "\n").replace(r"\t", "\t")
    if "\\" in found:
        reject(path, repr(text), r"a backslash stands before n (a line break) or t (a tab) only")
    return found


def check_numbers(config: Any, path: str = "") -> None:
    """Refuse nan, inf and whole numbers beyond 64 bits, in whichever key of `config` (a dataclass) or below.

    A check like `value < 0` lets nan pass.
    """
    for entry in fields(config):
        value, key = getattr(config, entry.name), f"{path}{entry.name}"
        if is_dataclass(value):
            check_numbers(value, f"{key}.")
        if isinstance(value, float) and not math.isfinite(value):
            reject(key, value, f"it must be a finite number{_as_in(key, entry.default)}")
        if isinstance(value, int) and abs(value) >= 2**63:
            reject(key, value, f"a whole number must be below 2^63{_as_in(key, entry.default)}")


def _as_in(key: str, default: object) -> str:
    return f", as in {key}={default}" if isinstance(default, int | float) else ""
