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
    """Run failed cells again, and missing ones."""
    all = "all"
    """Run every cell again. Earlier results are moved to outputs/replaced, not lost."""


@dataclass(kw_only=True, slots=True)
class LauncherConfig:
    """Where cells run; each launcher has a subclass with its own knobs."""

    name: str = MISSING
    retry: Retry = Retry.failed


def check_workers(num_workers: int | None, gpus: list[int]) -> None:
    """Refuse numbers of workers and GPUs that do not go together."""
    require("launcher.num_workers", num_workers, num_workers is None or num_workers >= 1, "at least 1")
    if len(set(gpus)) < len(gpus) or any(gpu < 0 for gpu in gpus):
        raise UserError(f"launcher.gpus={gpus} is not possible: each GPU once, counted from 0, as in launcher.gpus=[0,1].")
    if gpus and (num_workers or 0) > len(gpus):
        raise UserError(
            f"launcher.num_workers={num_workers} is more than launcher.gpus={gpus} has: a GPU runs one cell "
            "at a time. Name more GPUs, or lower launcher.num_workers."
        )


def require(path: str, value: object, holds: bool, allowed: str) -> None:
    """Refuse `value` unless the condition holds."""
    if not holds:
        raise UserError(f"{path}={value} is not possible: it must be {allowed}.")
