"""A cell's log and its stopwatch."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger("prune")


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {"load": 0.0, "calib": 0.0, "prune": 0.0, "eval": 0.0}
        self._begin = time.monotonic()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count what runs inside towards `stage`."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] += time.monotonic() - begin

    def rounded(self) -> dict[str, float]:
        """All stages, those of earlier runs included, and the total since the start or of the stages, to the millisecond."""
        total = max(time.monotonic() - self._begin, sum(self.seconds.values()))
        seconds = self.seconds | {"total": total}
        return {stage: round(value, 3) for stage, value in seconds.items()}


class RunLog(logging.Handler):
    """Appends to a cell's log. A full disk costs lines of the log only; the files that matter report it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Append one record."""
        with suppress(OSError), self._path.open("a") as stream:
            stream.write(self.format(record) + "\n")


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Append what the program logs to `path`."""
    handler = RunLog(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.disabled = False  # Hydra disables the loggers that there are when it starts
    try:
        yield
    finally:
        log.removeHandler(handler)
