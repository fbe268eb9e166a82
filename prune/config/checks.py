"""Checks of single values of the configuration, and the mark of one that has to be given."""

from typing import Any

from prune.errors import UserError

MISSING: Any = "???"
"""What omegaconf takes for a value that has to be given: its own constant, for where omegaconf is not installed."""


def reject(path: str, value: object, allowed: str) -> None:
    """Refuse `value` of the key `path`, saying what is allowed."""
    raise UserError(f"{path}={value} is not possible: {allowed}.")


def require_at_least(path: str, value: int | None, least: int) -> None:
    """Refuse a number below `least`; None passes."""
    if value is not None and value < least:
        reject(path, value, f"it must be a whole number of at least {least}")
