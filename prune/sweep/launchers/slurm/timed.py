"""The time of a job, which is over at the signal that Slurm sends before it ends the job."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from rich.console import Console
from submitit.core.utils import DelayedSubmission, UncompletedJobError

from prune.sweep.output.progress import PlainWatcher


@dataclass
class TimedJob:
    """A program that submitit pickles; it knows when its time is over."""

    is_over: bool = field(default=False, init=False)
    """Whether the signal has come."""

    def checkpoint(self) -> DelayedSubmission:
        """What runs when the job comes back from the queue: the same. submitit asks at the signal."""
        self.is_over = True
        return DelayedSubmission(replace(self))


class TimedWatcher(PlainWatcher):
    """Stops a job that goes on though its time is over.

    submitit raises at the signal, wherever the program is; a library that looks whether another can be imported takes that
    for an answer, and goes on.
    """

    def __init__(self, console: Console, num_cells: int, is_over: Callable[[], bool]) -> None:
        super().__init__(console, num_cells)
        self._is_over = is_over

    def stage(self, name: str) -> None:
        """Print the stage.

        Raises:
            UncompletedJobError: the job's time is over.
        """
        self._check()
        super().stage(name)

    def advance(self, done: int, total: int) -> None:
        """Print nothing.

        Raises:
            UncompletedJobError: the job's time is over.
        """
        self._check()

    def _check(self) -> None:
        if self._is_over():
            raise UncompletedJobError("The job's time is over.")
