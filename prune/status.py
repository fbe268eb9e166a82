"""Where the sweeps of a folder stand: `python -m prune.status [outputs]`, read from files and from the queue."""

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from prune.cell.folder import CellFolder
from prune.cell.slurm_queue import Job, SlurmUnavailableError, queued_jobs
from prune.cell.standing import Standing, damage, stand_unfinished
from prune.cell.state import State, read_status
from prune.errors import DamagedFileError, UserError, allowed
from prune.messages.cli import leave_on_error
from prune.messages.words import count
from prune.sweep.grid import read_grid

STATES = (State.done, State.running, State.pending, State.failed, State.todo)
WATCH_S = 5.0


@dataclass(frozen=True, slots=True)
class CellLine:
    """One cell of a sweep, and where it stands."""

    id: str
    name: str
    standing: Standing
    job_id: str
    """The Slurm job that works or worked on it, or that it waits for."""
    used: str
    """Time since it began, or all the time that it took."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print where sweeps stand; end with 2 after wrong use."""
    parser = argparse.ArgumentParser(prog="python -m prune.status", description=__doc__)
    parser.add_argument("outputs", nargs="?", default="outputs", type=Path, help="the output_dir of the sweeps (outputs)")
    parser.add_argument("--sweep", metavar="NAME", help="only this sweep")
    parser.add_argument("--all", action="store_true", help="list every cell, those of finished sweeps too")
    parser.add_argument(
        "--watch", action="store_true", help=f"refresh every {WATCH_S:g} s until nothing is queued or running"
    )
    asked = parser.parse_args(arguments)
    with leave_on_error():
        folders = find_sweeps(asked.outputs, asked.sweep)
        show(folders, asked.outputs, asked.all or asked.sweep is not None, asked.watch, Console())


def find_sweeps(output_dir: Path, name: str | None) -> list[Path]:
    """The folders of the sweeps in `output_dir`, the latest last.

    Raises:
        UserError: there are none, or none of that name.
    """
    found = sorted((output_dir / "sweeps").glob("*/grid.jsonl"), key=lambda path: path.stat().st_mtime)
    folders = [path.parent for path in found]
    if not folders:
        raise UserError(f"{output_dir} holds no sweeps. Name the output_dir of a sweep: python -m prune.status FOLDER.")
    if name is None:
        return folders
    names = [folder.name for folder in folders]
    if name not in names:
        raise UserError(f"{output_dir} has no sweep {name}. {allowed(name, names)}")
    return [output_dir / "sweeps" / name]


def show(folders: Sequence[Path], output_dir: Path, every_cell: bool, watch: bool, console: Console) -> None:
    """Print the sweeps once, or again and again until no cell is on its way."""
    if not watch:
        for part in render(folders, output_dir, every_cell)[0]:
            console.print(part)
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            page, busy = render(folders, output_dir, every_cell)
            live.update(Group(*page), refresh=True)
            if not busy:
                return
            time.sleep(WATCH_S)


def render(folders: Sequence[Path], output_dir: Path, every_cell: bool) -> tuple[list[RenderableType], bool]:
    """(what to print, whether any cell is on its way)."""
    parts: list[RenderableType] = []
    try:
        queue = queued_jobs()
    except SlurmUnavailableError as error:
        queue = {}
        if has_jobs(output_dir):
            parts.append(Text(f"Slurm does not answer ({error}): pending jobs cannot be seen."))
    busy = False
    for folder in folders:
        lines = read_lines(folder, output_dir, queue)
        damaged = read_grid(folder / "grid.jsonl")[1]
        parts += [Text(damaged)] if damaged else []
        states = {line.standing.state for line in lines}
        busy = busy or bool(states & {State.running, State.pending})
        parts += render_sweep(folder.name, lines, every_cell, is_open=states != {State.done})
    return parts, busy


def has_jobs(output_dir: Path) -> bool:
    """Whether any cell was ever submitted to Slurm."""
    return next((output_dir / "cells").glob("*/job.json"), None) is not None


def read_lines(folder: Path, output_dir: Path, queue: Mapping[str, Job]) -> list[CellLine]:
    """The distinct cells of a sweep with where they stand, dense first; done is what has every score that the sweep asks."""
    rows = [row for row in read_grid(folder / "grid.jsonl")[0] if row["cell"]]
    names: dict[str, str] = {row["dense_cell"]: f"{row['name'].partition('/')[0]}/dense" for row in rows}
    names |= {row["cell"]: row["name"] for row in rows}
    asked: dict[str, set[str]] = {cell_id: set() for cell_id in names}
    for row in rows:
        for cell_id in (row["dense_cell"], row["cell"]):
            asked[cell_id].update(row.get("scores", ()))
    return [
        _read_line(cell_id, name, output_dir / "cells" / cell_id, asked[cell_id], queue) for cell_id, name in names.items()
    ]


def _read_line(cell_id: str, name: str, folder: Path, asked: Iterable[str], queue: Mapping[str, Job]) -> CellLine:
    """A cell's line; result.json counts before status.json, which a killed process leaves behind."""
    try:
        result = CellFolder(folder).read_result()
        if result is not None and all((folder / "scores" / score).exists() for score in asked):
            used = _clock(_total_seconds(result, folder / "result.json"))
            return CellLine(cell_id, name, Standing(State.done, result=result), _job_id(folder), used)
        standing = stand_unfinished(folder, queue)
    except UserError as error:
        return CellLine(cell_id, name, Standing(State.failed, failure=damage(error)), "", "")
    job_id = standing.submission.job_id if standing.submission else _job_id(folder)
    used = _clock(_seconds_since(standing.holder.since)) if standing.holder else ""
    return CellLine(cell_id, name, standing, job_id, used)


def _job_id(folder: Path) -> str:
    """The Slurm job that last wrote the cell's status; empty when none did, or nobody can tell."""
    try:
        return (read_status(folder) or {}).get("job_id") or ""
    except UserError:
        return ""


def _total_seconds(result: Mapping[str, Any], path: Path) -> float:
    try:
        return float(result["seconds"]["total"])
    except (KeyError, TypeError, ValueError):
        raise DamagedFileError(path, "it does not say how long the cell took") from None


def render_sweep(name: str, lines: Sequence[CellLine], every_cell: bool, is_open: bool) -> list[RenderableType]:
    """The sweep's counts, the cells that are not done, and what the failed ones died of."""
    counts = Counter(line.standing.state for line in lines)
    words = [f"{'to do' if state is State.todo else state.value} {counts[state]}" for state in STATES]
    parts: list[RenderableType] = [Text(f"{name}\n  {count(len(lines), 'cell')}   {'   '.join(words)}")]
    listed = [line for line in lines if every_cell or line.standing.state is not State.done]
    if listed and (is_open or every_cell):
        parts.append(_table(listed))
    parts += [Text(f"  {line.name} {line.standing.failure}") for line in lines if line.standing.failure]
    uncertain = [line for line in lines if line.standing.held and not line.standing.held.is_certain]
    parts += [Text(f"  {line.name} {line.standing.held and line.standing.held.describe()}") for line in uncertain]
    return parts


def _table(lines: Sequence[CellLine]) -> Table:
    table = Table(pad_edge=False)
    for heading in ("cell", "name", "state", "job", "where", "used", "left"):
        table.add_column(heading, no_wrap=True)
    for line in lines:
        table.add_row(*_row(line))
    return table


def _row(line: CellLine) -> list[str]:
    standing = line.standing
    job = standing.job if standing.job and not standing.job.has_ended else None
    state = "to do" if standing.state is State.todo else standing.state.value
    where = (job and (job.node or job.reason)) or (standing.holder and standing.holder.host) or ""
    return [line.id, line.name, state, line.job_id, where, line.used, job.left if job else ""]


def _seconds_since(since: str) -> float:
    try:
        passed = (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, passed)  # another machine's clock may be ahead


def _clock(seconds: float) -> str:
    """`3:07`, or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


if __name__ == "__main__":
    main()
