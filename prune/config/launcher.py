"""The typed configuration of the launchers: where the cells of a sweep run, and what the same line does next time."""

from dataclasses import dataclass
from enum import Enum

from prune.config.checks import MISSING
from prune.errors import UserError


class Retry(str, Enum):
    """What a line does with cells that were tried before."""

    none = "none"
    """Leave failed cells alone; run only those that were never tried."""
    failed = "failed"
    """Run failed cells again, and those that are missing."""
    all = "all"
    """Run every cell again. Earlier results are moved to outputs/replaced, not lost."""


@dataclass(kw_only=True, slots=True)
class LauncherConfig:
    """Where cells run; each launcher has a subclass with its own knobs."""

    name: str = MISSING
    retry: Retry = Retry.failed


def require(path: str, value: object, holds: bool, allowed: str) -> None:
    """Refuse `value` unless the condition holds."""
    if not holds:
        raise UserError(f"{path}={value} is not possible: it must be {allowed}.")
