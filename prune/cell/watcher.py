"""The interface through which a cell reports its progress."""

from typing import Protocol

WAITS = "waits for"
"""How a stage begins in which nothing is done but waiting."""


class Watcher(Protocol):
    """Shows the progress of a cell, or passes it on."""

    def stage(self, name: str) -> None:
        """A stage (load, calib, prune, or a metric's name) begins."""

    def advance(self, done: int, total: int) -> None:
        """`done` of `total` steps of the stage are done."""
