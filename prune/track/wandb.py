"""The W&B edge: one run a cell, the only file that imports wandb.

A run is written after result.json, so that the service can be slow, full or absent without costing a cell.
"""

import logging
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from prune.config import TrackerConfig, TrackerMode
from prune.files import read_json, write_json
from prune.track import Record

log = logging.getLogger(__name__)


class WandbTracker:
    """Keeps W&B runs under `output_dir`/wandb, and sends them when the mode is online."""

    def __init__(self, config: TrackerConfig, output_dir: Path) -> None:
        self._config = config
        self._folder = output_dir.resolve()
        self._mode = config.mode
        self._refused: list[str] = []

    def record(self, record: Record) -> None:
        """Write one run: nested configuration, a history line a block, the final numbers in the summary."""
        import wandb

        attempt = int((read_json(record.folder / "wandb.json") or {}).get("attempt", 0)) + 1
        try:
            folder = self._write(wandb, record, f"{record.cell_id}-{attempt}")
        except (wandb.errors.Error, OSError) as error:
            log.warning("W&B did not take %s: %s", record.name, error)
            self._refused.append(f"{record.name} ({_first_line(error)})")
            return
        write_json(record.folder / "wandb.json", {"attempt": attempt, "mode": self._mode.value, "folder": str(folder)})

    def closing_note(self) -> str | None:
        """Which cells W&B did not take."""
        if not self._refused:
            return None
        return f"W&B did not take {', '.join(self._refused)}; their results are kept here all the same."

    def _write(self, wandb: Any, record: Record, run_id: str) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        run = self._start(wandb, record, run_id)
        try:
            for line in block_history(record.linears):
                run.log(line)
            run.summary.update(summary(record.result))
            folder = Path(run.dir).parent
        finally:
            run.finish()
        return folder

    def _start(self, wandb: Any, record: Record, run_id: str) -> Any:
        try:
            return self._init(wandb, record, run_id)
        except (wandb.errors.CommError, wandb.errors.UsageError) as error:
            if self._mode is not TrackerMode.online:
                raise
            log.warning("W&B cannot be reached (%s); runs are kept offline from here on.", _first_line(error))
            self._mode = TrackerMode.offline
            return self._init(wandb, record, run_id)

    def _init(self, wandb: Any, record: Record, run_id: str) -> Any:
        axes = record.result["axes"]
        return wandb.init(
            id=run_id,
            name=record.name,
            group=record.group,
            job_type=axes["method"],
            tags=[tag for tag in (axes["model"], axes["calib"], axes["prompt"]) if tag],
            config=record.config | {"cell": record.cell_id},
            project=self._config.project or os.environ.get("WANDB_PROJECT") or "prune",
            entity=self._config.entity,
            mode=self._mode.value,
            dir=self._folder,
            settings=wandb.Settings(silent=True, disable_git=True, init_timeout=30),
        )


def block_history(linears: list[dict[str, Any]]) -> list[dict[str, float]]:
    """One line a block: the sparsity over its linears, the mean of their errors where there are any, their seconds."""
    blocks: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for linear in linears:
        blocks[linear["block"]].append(linear)
    return [_block_line(index, group) for index, group in sorted(blocks.items())]


def _block_line(index: int, linears: list[dict[str, Any]]) -> dict[str, float]:
    errors = [linear["error"] for linear in linears if linear["error"] is not None]
    line: dict[str, float] = {
        "block": index,
        "block/sparsity": sum(linear["num_zero"] for linear in linears) / sum(linear["num_weights"] for linear in linears),
        "block/seconds": sum(linear["seconds"] for linear in linears),
    }
    return line | ({"block/error": sum(errors) / len(errors)} if errors else {})


def summary(result: dict[str, Any]) -> dict[str, Any]:
    """The final numbers of result.json as plain values: metrics under their names, sparsity, seconds, memory."""
    numbers = {name: metric["value"] for name, metric in result["metrics"].items()}
    numbers |= {f"stderr/{name}": metric["stderr"] for name, metric in result["metrics"].items()}
    for group in ("sparsity", "seconds", "peak_memory_mb"):
        numbers |= {f"{group}/{key}": value for key, value in (result[group] or {}).items()}
    return numbers | {"warnings": len(result["warnings"])}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
