"""Sends runs from a process of its own, one after another, so that no cell waits for W&B.

A thread of the line hands it the finished cells. When W&B hangs, the process is killed; running the same line again sends
what was not sent, as each cell's folder says what its run shows.
"""

import io
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import redirect_stderr, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from prune.cell.lock import find_held
from prune.config.tracker import TrackerConfig
from prune.track.tracker import Record

END_SECONDS = 30.0
"""So long the end of a line waits for what is still being sent."""

HELD_SECONDS = 10.0
"""So long a cell may be held by its job, which keeps its own run once it has shown its result."""

KILL_SECONDS = 5.0
"""So long the process may take to end."""


class TrackerBeside:
    """The tracker of W&B, at work beside the cells."""

    def __init__(self, config: TrackerConfig, output_dir: Path) -> None:
        from prune.track.wandb import WandbTracker

        self._here = WandbTracker(config, output_dir)
        self._waiting: SimpleQueue[Record | None] = SimpleQueue()
        self._num_recorded = self._num_sent = 0
        self._note: str | None = None
        parent, child = get_context("spawn").Pipe()
        self._connection, self._child = parent, child
        self._process = get_context("spawn").Process(target=send_runs, args=(child, config, output_dir), daemon=True)
        self._thread = Thread(target=self._hand_over, name="wandb", daemon=True)

    def record(self, record: Record) -> None:
        """Let one run be sent; nothing waits for it."""
        if self._process.pid is None:
            self._process.start()
            self._child.close()  # so that the end of the process is the end of the connection
            self._thread.start()
        self._num_recorded += 1
        self._waiting.put(record)

    def lacks(self, folder: Path, numbers: Mapping[str, float]) -> bool:
        """Whether the run of the cell in `folder` is not there yet, or shows other numbers; see `WandbTracker.lacks`."""
        return self._here.lacks(folder, numbers)

    def finish(self) -> None:
        """Wait until all is sent, for a while, and end the process."""
        if self._process.pid is None:
            return
        self._waiting.put(None)
        self._thread.join(END_SECONDS)
        if self._thread.is_alive():
            self._process.kill()
            self._thread.join(KILL_SECONDS)
        self._connection.close()
        self._process.join(KILL_SECONDS)

    def closing_note(self) -> str | None:
        """Which cells W&B did not take, and how many were not sent in time."""
        late = self._num_recorded - self._num_sent
        unsent = (
            f"W&B did not get {late} runs before the line ended, which waits at most {END_SECONDS:g} s. Run the same line "
            "again to send them."
        )
        return "\n".join(filter(None, [self._note, unsent if late else None])) or None

    def _hand_over(self) -> None:
        """Give the process one cell after another, and show what it says of each."""
        with suppress(EOFError, OSError):  # it has ended: `closing_note` counts what it had not sent
            while (record := self._waiting.get()) is not None:
                self._connection.send(record)
                said, self._note = self._connection.recv()
                sys.stderr.write(said)
                self._num_sent += 1


def send_runs(connection: Connection, config: TrackerConfig, output_dir: Path) -> None:
    """The program of the process: record what comes in; answer with what is to be said of it, now and at the end."""
    from prune.track.wandb import WandbTracker

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the line, which ends this process
    tracker = WandbTracker(config, output_dir)
    with suppress(EOFError, ConnectionError):
        while True:
            record = connection.recv()
            _wait_until_free(record.folder)
            with redirect_stderr(io.StringIO()) as said:
                tracker.record(record)
            connection.send((said.getvalue(), tracker.closing_note()))


def _wait_until_free(folder: Path) -> None:
    end = time.monotonic() + HELD_SECONDS
    while find_held(folder) is not None and time.monotonic() < end:
        time.sleep(0.1)
