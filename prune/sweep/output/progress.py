"""What a person sees while cells run: bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from prune.cell.watcher import WAITS, Watcher


class SweepWatcher(Watcher, Protocol):
    """Shows the progress of a sweep and of its cell."""

    def begin_cell(self, name: str) -> None:
        """A cell begins."""

    def end_cell(self, note: str) -> None:
        """It ended, with what there is to say of it."""


class PlainWatcher:
    """A line when a cell begins, when a stage begins, and when the cell ends."""

    def __init__(self, console: Console, num_cells: int) -> None:
        self._console, self._num_cells = console, num_cells
        self._num_begun, self._begin = 0, 0.0

    def begin_cell(self, name: str) -> None:
        """Print the cell's number and name."""
        self._num_begun += 1
        self._begin = time.monotonic()
        self._say(f"[{self._num_begun}/{self._num_cells}] {name}")

    def stage(self, name: str) -> None:
        """Print the stage and the seconds since the cell began."""
        self._say(f"  {time.monotonic() - self._begin:6.1f} s  {name}")

    def advance(self, done: int, total: int) -> None:
        """Print nothing: a line for each step would bury the others."""

    def end_cell(self, note: str) -> None:
        """Print what came out."""
        self._say(f"  {time.monotonic() - self._begin:6.1f} s  {note}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class BarWatcher:
    """Two bars: the cells of the sweep, and the stage of the cell at work."""

    def __init__(self, progress: Progress, num_cells: int) -> None:
        self._progress = progress
        self._cells: TaskID = progress.add_task("cells", total=num_cells)
        self._stage: TaskID = progress.add_task("", total=None, visible=False)
        self._name, self._begin = "", 0.0

    def begin_cell(self, name: str) -> None:
        """Show the cell's name beside the bar of cells."""
        self._name, self._begin = name, time.monotonic()
        self._progress.update(self._cells, description=escape(name))

    def stage(self, name: str) -> None:
        """Start the second bar anew."""
        self._progress.reset(self._stage, description=f"  {name}", total=None, visible=True)

    def advance(self, done: int, total: int) -> None:
        """Move the second bar."""
        self._progress.update(self._stage, completed=done, total=total)

    def end_cell(self, note: str) -> None:
        """Print what came out above the bars and move the first."""
        seconds = time.monotonic() - self._begin
        self._progress.console.print(f"{self._name}  {seconds:.1f} s  {note}", markup=False, highlight=False)
        self._progress.update(self._stage, visible=False)
        self._progress.advance(self._cells)


class WorkersWatcher(Protocol):
    """Shows the progress of a sweep that several workers run at once; `worker` counts them from 0."""

    def begin_cell(self, worker: int, name: str) -> None:
        """The worker begins a cell."""

    def stage(self, worker: int, name: str) -> None:
        """Its cell comes to a stage."""

    def advance(self, worker: int, done: int, total: int) -> None:
        """So much of the stage is done."""

    def end_cell(self, worker: int, note: str) -> None:
        """Its cell ended, with what there is to say of it."""


class PlainWorkersWatcher:
    """A line when a cell begins and one with its name when it ends; the stages of several cells would be a jumble."""

    def __init__(self, console: Console, num_cells: int) -> None:
        self._console, self._num_cells = console, num_cells
        self._num_begun = 0
        self._cells: dict[int, tuple[str, float]] = {}

    def begin_cell(self, worker: int, name: str) -> None:
        """Print the cell's number and name."""
        self._num_begun += 1
        self._cells[worker] = name, time.monotonic()
        self._say(f"[{self._num_begun}/{self._num_cells}] {name}")

    def stage(self, worker: int, name: str) -> None:
        """Print only what a cell waits for."""
        if name.startswith(WAITS):
            self._say(f"{self._cells[worker][0]} {name}")

    def advance(self, worker: int, done: int, total: int) -> None:
        """Print nothing."""

    def end_cell(self, worker: int, note: str) -> None:
        """Print the seconds, the name and what came out."""
        name, begin = self._cells[worker]
        self._say(f"  {time.monotonic() - begin:6.1f} s  {name}  {note}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class BarWorkersWatcher:
    """A bar for the cells of the sweep, and one for each worker with its cell and stage."""

    def __init__(self, progress: Progress, num_cells: int, num_workers: int) -> None:
        self._progress = progress
        self._all: TaskID = progress.add_task("cells", total=num_cells)
        self._bars = [progress.add_task("", total=None, visible=False) for _ in range(num_workers)]
        self._cells: dict[int, tuple[str, float]] = {}

    def begin_cell(self, worker: int, name: str) -> None:
        """Show the worker's bar with the cell's name."""
        self._cells[worker] = name, time.monotonic()
        self._restart(worker, name)

    def stage(self, worker: int, name: str) -> None:
        """Start the worker's bar anew, with the stage beside the cell's name."""
        self._restart(worker, f"{self._cells[worker][0]}  {name}")

    def advance(self, worker: int, done: int, total: int) -> None:
        """Move the worker's bar."""
        self._progress.update(self._bars[worker], completed=done, total=total)

    def end_cell(self, worker: int, note: str) -> None:
        """Print what came out above the bars, hide the worker's and move that of the cells."""
        name, begin = self._cells[worker]
        self._progress.console.print(f"{name}  {time.monotonic() - begin:.1f} s  {note}", markup=False, highlight=False)
        self._progress.update(self._bars[worker], visible=False)
        self._progress.advance(self._all)

    def _restart(self, worker: int, description: str) -> None:
        # text in square brackets would be read as markup
        self._progress.reset(self._bars[worker], description=f"  {escape(description)}", total=None, visible=True)


@contextmanager
def watch(console: Console, num_cells: int) -> Iterator[SweepWatcher]:
    """The watcher that suits `console`, for a sweep that has `num_cells` cells to run."""
    if not console.is_terminal:
        yield PlainWatcher(console, num_cells)
        return
    with _bars(console) as progress:
        yield BarWatcher(progress, num_cells)


@contextmanager
def watch_workers(console: Console, num_cells: int, num_workers: int) -> Iterator[WorkersWatcher]:
    """The watcher that suits `console`, for `num_cells` cells that `num_workers` workers run."""
    if not console.is_terminal:
        yield PlainWorkersWatcher(console, num_cells)
        return
    with _bars(console) as progress:
        yield BarWorkersWatcher(progress, num_cells, num_workers)


def _bars(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)
