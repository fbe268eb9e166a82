"""What a cell's folder keeps of its W&B run: wandb.json."""

import hashlib
import json
import shlex
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from prune.cell.cell import Cell
from prune.config.tracker import TrackerMode
from prune.errors import UserError
from prune.files import read_json, write_json

FILE = "wandb.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class MirroredRun:
    """The run that mirrors a cell."""

    attempt: int
    """Suffix of the run's id; the next one when the id was deleted on the server, or all cells were run anew."""
    mode: str
    folder: str
    """Where W&B keeps the run here."""
    digest: str = ""
    """Of the numbers that the run shows; empty while it is being written."""
    sent: bool = False
    """Whether an earlier log of the run was sent: the server has the blocks, and would show them twice."""

    def was_sent(self) -> bool:
        """Whether the server has the blocks of this run."""
        is_whole_online = self.mode == TrackerMode.online.value and self.digest != ""
        return self.sent or is_whole_online or has_marker(Path(self.folder))


def read_mirrored(folder: Path) -> MirroredRun | None:
    """The run of the cell in `folder`; None when it has none, or the file is damaged: the run is then written again."""
    try:
        found = read_json(folder / FILE)
        return None if found is None else MirroredRun(**found)
    except (UserError, TypeError):
        return None


def write_mirrored(folder: Path, kept: MirroredRun) -> None:
    """Keep the run of the cell in `folder`."""
    write_json(folder / FILE, asdict(kept))


def digest(numbers: Mapping[str, float]) -> str:
    """A hash of what a run shows."""
    return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:16]


def first_attempt(cell_id: str, output_dir: Path) -> int:
    """The suffix for a cell without a run: one more than that of its runs before it was run anew."""
    replaced = [read_mirrored(folder) for folder in (output_dir / "replaced").glob(f"{cell_id}-*")]
    return 1 + max((kept.attempt for kept in replaced if kept is not None), default=0)


def has_marker(folder: Path) -> bool:
    """Whether `wandb sync` has sent the run in `folder`."""
    return any(folder.glob("*.synced"))


def drop_unsent(earlier: MirroredRun, runs: Path) -> None:
    """Remove the offline log `earlier` under `runs` that a later one of the same run replaces, unless it was sent."""
    folder = Path(earlier.folder)
    is_ours = folder.parent == runs and folder.name.startswith("offline-run-")
    if is_ours and not has_marker(folder):
        shutil.rmtree(folder, ignore_errors=True)


def sync_note(cells: Iterable[Cell], output_dir: Path) -> str | None:
    """How to send the runs of `cells` that W&B keeps offline; None when there are none."""
    kept = [read_mirrored(cell.folder()) for cell in cells]
    num_offline = sum(run is not None and run.mode == TrackerMode.offline.value for run in kept)
    if not num_offline:
        return None
    runs = shlex.quote(str(output_dir.resolve() / "wandb"))
    return (
        f"W&B runs kept offline: {num_offline}. Send them with: wandb sync {runs}/offline-run-*\n"
        "or with the same line and tracker.mode=online, which also sends a run anew that was deleted on the server: wandb "
        "sync hangs there."
    )
