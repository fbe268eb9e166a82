"""Where finished cells are mirrored. The files are the truth; a tracker may never cost a finished cell."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """One finished cell, as a tracker mirrors it."""

    cell_id: str
    name: str
    group: str
    """The sweep's name."""
    config: dict[str, Any]
    """The configuration as asked for, nested, the axes at its top level."""
    result: dict[str, Any]
    """result.json."""
    linears: list[dict[str, Any]]
    """blocks.jsonl."""
    folder: Path
    """The cell's folder."""
    dense: dict[str, Any] | None = None
    """The result of the unpruned model, as far as there is one."""
    c4: dict[str, Any] | None = None
    """The result of the cell that differs only in being calibrated on C4, as far as there is one."""
    gpu: list[dict[str, float]] = field(default_factory=list)
    """gpu.jsonl."""


class Tracker(Protocol):
    """Mirrors cells somewhere else."""

    def record(self, record: Record) -> None:
        """Mirror one finished cell; nothing is done where everything is mirrored already."""

    def lacks(self, folder: Path, numbers: Mapping[str, float]) -> bool:
        """Whether the mirror of the cell in `folder` does not show `numbers` yet."""

    def finish(self) -> None:
        """Wait for what is still on its way, but not for long."""

    def closing_note(self) -> str | None:
        """What the user should know at the end of the sweep; None when nothing."""


class NullTracker:
    """Mirrors nothing."""

    def record(self, record: Record) -> None:
        """Do nothing."""

    def lacks(self, folder: Path, numbers: Mapping[str, float]) -> bool:
        """Nothing is missing."""
        return False

    def finish(self) -> None:
        """Nothing is on its way."""

    def closing_note(self) -> str | None:
        """Nothing to say."""
        return None
