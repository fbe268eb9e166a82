"""Who is told how far a cell is."""

from typing import Protocol


class Watcher(Protocol):
    """Is told how far a cell is."""

    def stage(self, name: str) -> None:
        """A stage (load, calib, prune, or a metric's name) begins."""

    def advance(self, done: int, total: int) -> None:
        """So much of the stage is done."""
