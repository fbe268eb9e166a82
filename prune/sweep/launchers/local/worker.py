"""A worker: the program of a child process that runs cells for workers.py, and what the two say to each other.

A cell comes in on the standard input, pickled, a line each. Lines of JSON go out on the standard output:

    {"stage": "prune"}  {"advance": [3, 4]}
    {"ended": "done"}  {"ended": "held", "by": "..."}  {"ended": "failed", "failure": {...}, "leaves": false}

Results do not travel: they are in the cell's folder. When the input ends, so does the worker, also in the middle of a cell:
its parent has no more for it, was interrupted, or is dead.
"""

import _thread
import base64
import faulthandler
import json
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from types import FrameType
from typing import Any, BinaryIO, TypeAlias

from prune.cell.cell import Cell
from prune.cell.failure import Failure
from prune.cell.lock import CellHeldError
from prune.cell.resources import Resources
from prune.cell.run import run_cell

Message: TypeAlias = dict[str, Any]
Tell: TypeAlias = Callable[[Message], None]

STOP_SECONDS = 3.0
"""How long a cell that is interrupted may take to say so in its files."""

ADVANCE_SECONDS = 0.1
"""Between two messages of progress: a parent that is busy for a while must not find the pipe full, and the cell waiting."""


def encode_cell(cell: Cell) -> bytes:
    """The line that hands `cell` to a worker."""
    return base64.b64encode(pickle.dumps(cell)) + b"\n"


def decode_cell(line: bytes) -> Cell:
    """The cell in a line of `encode_cell`."""
    cell = pickle.loads(base64.b64decode(line))
    assert isinstance(cell, Cell)
    return cell


def encode_failure(failure: Failure) -> Message:
    """The failure as plain values."""
    return asdict(failure) | {"log": failure.log and str(failure.log)}


def decode_failure(message: Message) -> Failure:
    """The failure behind the values of `encode_failure`."""
    return Failure(**message | {"log": message["log"] and Path(message["log"])})


class PipeWatcher:
    """Tells the parent how far the cell is."""

    def __init__(self, tell: Tell) -> None:
        self._tell, self._told = tell, 0.0

    def stage(self, name: str) -> None:
        """Tell each stage."""
        self._tell({"stage": name})

    def advance(self, done: int, total: int) -> None:
        """Tell a few steps a second, and the last one."""
        if done == total or time.monotonic() - self._told >= ADVANCE_SECONDS:
            self._told = time.monotonic()
            self._tell({"advance": [done, total]})


def main() -> None:
    """Run the cells that come in; leave with 130 when interrupted."""
    faulthandler.enable()  # a crash leaves its stack in the log
    requests, replies = take_pipes()
    hear_one_interrupt()
    inbox: SimpleQueue[bytes | None] = SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=listen, args=(requests, inbox, busy), daemon=True).start()
    try:
        serve(inbox, busy, lambda message: send(replies, message))
    except KeyboardInterrupt:
        sys.exit(130)


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes from and to the parent, out of reach of libraries: their input is empty, and what they print is logged."""
    requests, replies = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    sys.stdout = sys.stderr  # unlike what it was, it keeps no lines back
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def hear_one_interrupt() -> None:
    """Let the first Ctrl-C or SIGTERM interrupt the cell and ignore the next: it is putting its files in order then."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in heard:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    # a shell starts what it puts into the background deaf to Ctrl-C, and so it must stay
    deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    heard = [signal.SIGTERM] if deaf else [signal.SIGTERM, signal.SIGINT]
    for each in heard:
        signal.signal(each, interrupt)


def listen(requests: BinaryIO, inbox: "SimpleQueue[bytes | None]", busy: threading.Event) -> None:
    """Pass on what comes in; when nothing more will come, end the process."""
    for line in requests:
        inbox.put(line)
    inbox.put(None)
    if busy.is_set():
        _thread.interrupt_main(signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(130)


def serve(inbox: "SimpleQueue[bytes | None]", busy: threading.Event, tell: Tell) -> None:
    """Run one cell after another, sharing what they have in common."""
    resources = Resources()
    while (line := inbox.get()) is not None:
        busy.set()
        ended = work(decode_cell(line), resources, tell)
        busy.clear()
        tell(ended)
        if ended.get("leaves"):
            return


def work(cell: Cell, resources: Resources, tell: Tell) -> Message:
    """Run one cell; return how it ended."""
    try:
        run_cell(cell, resources, PipeWatcher(tell))
    except CellHeldError as error:
        return {"ended": "held", "by": str(error)}
    except Exception as error:
        failure = Failure.of_exception(error, cell.folder() / "run.log")
        return {"ended": "failed", "failure": encode_failure(failure), "leaves": not gpu_works()}
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


def send(replies: BinaryIO, message: Message) -> None:
    """Tell the parent; if it is dead, nothing: `listen` ends this process then."""
    with suppress(BrokenPipeError):
        replies.write(json.dumps(message).encode() + b"\n")
        replies.flush()


if __name__ == "__main__":
    main()
