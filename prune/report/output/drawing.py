"""Drawing the figures in a second process, while this one writes the page and the tables."""

import gc
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from prune.errors import UserError
from prune.report.model import Report

Drawing = Callable[[Report, Path], Callable[[], list[str]]]
"""Begins to draw a report's figures into a folder and returns a function that waits for them and returns notes on them."""


@contextmanager
def drawing_process() -> Iterator[Drawing]:
    """A process that draws once and loads matplotlib while the report is built.

    It is spawned, not forked: a fork would copy locks that threads of libraries hold.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_start) as pool:
        pool.submit(int)  # starts the process
        yield lambda report, folder: partial(_notes, pool.submit(draw, report, folder))


def draw(report: Report, folder: Path) -> list[str]:
    """Write the figures; only this loads matplotlib."""
    from prune.report.output.figures import write_figures

    return write_figures(report, folder)


def _notes(drawn: Future[list[str]]) -> list[str]:
    try:
        return drawn.result()
    except BrokenProcessPool:
        raise UserError(
            "The process that draws the figures was killed, which often means too little memory. "
            "Run the same line again, with more memory or on fewer cells (--sweep, --model, --metric)."
        ) from None


def _start() -> None:
    gc.disable()  # it would go through millions of numbers and find hardly a cycle
    Thread(target=_end_with_parent, daemon=True).start()
    import prune.report.output.figures  # noqa: F401


def _end_with_parent() -> None:
    """End this process when its parent ends; a pool would leave it behind."""
    if parent := parent_process():
        parent.join()
    os._exit(1)
