"""Where finished cells are mirrored. The files are the truth; a tracker may never cost a finished cell."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from prune.cell import Cell
from prune.config import TrackerConfig, TrackerMode
from prune.errors import UserError
from prune.files import read_json


@dataclass(frozen=True, slots=True)
class Record:
    """What a tracker is told about one finished cell."""

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


class Tracker(Protocol):
    """Mirrors cells somewhere else."""

    def record(self, record: Record) -> None:
        """Mirror one finished cell."""

    def closing_note(self) -> str | None:
        """What the user should know at the end of the sweep; None when nothing."""


class NullTracker:
    """Mirrors nothing."""

    def record(self, record: Record) -> None:
        """Do nothing."""

    def closing_note(self) -> str | None:
        """Nothing to say."""
        return None


def build_tracker(config: TrackerConfig, output_dir: Path) -> Tracker:
    """The tracker that the configuration names."""
    if config.name == "none":
        return NullTracker()
    if config.name == "wandb":
        from prune.track.wandb import WandbTracker

        return WandbTracker(config, output_dir)
    raise UserError(f"tracker.name={config.name} does not exist. Allowed: none, wandb.")


def sync_note(cells: Iterable[Cell], output_dir: Path) -> str | None:
    """How to send the runs of `cells` that W&B keeps offline; None when there are none."""
    kept = [read_json(cell.folder() / "wandb.json") for cell in cells]
    num_offline = sum(run is not None and run["mode"] == TrackerMode.offline.value for run in kept)
    if not num_offline:
        return None
    return f"W&B runs kept offline: {num_offline}. Send them with: wandb sync {output_dir.resolve()}/wandb/offline-run-*"
