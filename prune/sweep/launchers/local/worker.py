"""A worker: the program of a child process that runs cells for workers.py, and the messages between the two.

The parent sends cells through a connection whose descriptor is the program's argument. The worker answers with

    {"stage": "prune"}  {"advance": [3, 4]}
    {"ended": "done"}  {"ended": "held", "by": "..."}  {"ended": "failed", "failure": Failure(...), "exits": False}

A result stays in the cell's folder and is not sent. When the parent closes the connection, the worker ends, also in the
middle of a cell: the parent has no more cells for it, was interrupted, or is dead.
"""

import _thread
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import FrameType
from typing import Any, TypeAlias

from prune.cell.cell import Cell
from prune.cell.failure import Failure
from prune.cell.lock import CellHeldError
from prune.cell.resources import Resources
from prune.cell.run import run_cell

Message: TypeAlias = dict[str, Any]
Send: TypeAlias = Callable[[Message], None]

STOP_SECONDS = 3.0
"""Seconds that an interrupted cell may take to say so in its files."""

ADVANCE_SECONDS = 0.1
"""Seconds between two messages of progress: a parent that is busy for a while must not find the pipe full, and the cell
waiting."""


class ProgressSender:
    """Sends the progress of a cell to the parent."""

    def __init__(self, send: Send) -> None:
        self._send, self._sent = send, 0.0

    def stage(self, name: str) -> None:
        """Send each stage."""
        self._send({"stage": name})

    def advance(self, done: int, total: int) -> None:
        """Send a few steps a second, and the last one."""
        if done == total or time.monotonic() - self._sent >= ADVANCE_SECONDS:
            self._sent = time.monotonic()
            self._send({"advance": [done, total]})


def main() -> None:
    """Run the cells that come in; exit with 130 when interrupted."""
    faulthandler.enable()  # a crash leaves its stack in the log
    parent = Connection(int(sys.argv[1]))
    os.set_inheritable(parent.fileno(), False)
    handle_first_interrupt()
    inbox: SimpleQueue[Cell | None] = SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=receive_cells, args=(parent, inbox, busy), daemon=True).start()

    def send(message: Message) -> None:
        with suppress(ConnectionError):  # the parent is dead: `receive_cells` ends this process
            parent.send(message)

    try:
        run_cells(inbox, busy, send)
    except KeyboardInterrupt:
        sys.exit(130)


def handle_first_interrupt() -> None:
    """Let the first Ctrl-C or SIGTERM interrupt the cell, and ignore the next: its files are being put in order then."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    # a shell lets what it starts in the background ignore Ctrl-C, and that must stay so
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    handled = [signal.SIGTERM] if ignored else [signal.SIGTERM, signal.SIGINT]
    for each in handled:
        signal.signal(each, interrupt)


def receive_cells(parent: Connection, inbox: "SimpleQueue[Cell | None]", busy: threading.Event) -> None:
    """Put the cells that the parent sends into `inbox`; when the connection ends, end the process."""
    with suppress(EOFError, ConnectionError):
        while True:
            inbox.put(parent.recv())
    inbox.put(None)
    if busy.is_set():
        _thread.interrupt_main(signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(130)


def run_cells(inbox: "SimpleQueue[Cell | None]", busy: threading.Event, send: Send) -> None:
    """Run one cell after another; they share a loaded model and calibration sets."""
    resources = Resources()
    while (cell := inbox.get()) is not None:
        busy.set()
        ended = run_one(cell, resources, send)
        busy.clear()
        send(ended)
        if ended.get("exits"):
            return


def run_one(cell: Cell, resources: Resources, send: Send) -> Message:
    """Run one cell; return how it ended."""
    try:
        run_cell(cell, resources, ProgressSender(send))
    except CellHeldError as error:
        return {"ended": "held", "by": str(error)}
    except Exception as error:
        failure = Failure.of_exception(error, cell.folder() / "run.log")
        return {"ended": "failed", "failure": failure, "exits": not gpu_works()}
    return {"ended": "done"}


def gpu_works() -> bool:
    """Whether this process can go on computing; after some errors on a GPU whatever it does there fails, until it ends."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return True
    try:
        torch.cuda.synchronize()
    except Exception:
        return False
    return True


if __name__ == "__main__":
    main()
