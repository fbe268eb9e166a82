"""What a person sees while jobs wait and run: a line per state on a terminal, a line per change elsewhere."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from prune.cell.state import State
from prune.sweep.recorder import Outcome

if TYPE_CHECKING:
    from prune.sweep.launchers.slurm.followed import Followed

MAX_NAMES = 3
"""Cells that are named behind a count."""


class Screen:
    """Shows where the cells are; one that ends is said above the lines and stays."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._last = ""

    def __enter__(self) -> "Screen":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, left: Sequence["Followed"], outcome: Outcome) -> None:
        """Show the states as they are now."""
        lines = state_lines(left, outcome)
        if self._live:
            self._live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"))
            return
        counts = "   ".join(" ".join(line.split()[:2]) for line in lines)
        if counts != self._last:
            self.say(counts)
        self._last = counts


def state_lines(left: Sequence["Followed"], outcome: Outcome) -> list[str]:
    """A line for each of pending, running, done, failed: the count, and what it is about."""
    pending = [followed for followed in left if followed.state is State.pending]
    running = [followed for followed in left if followed.state is not State.pending]
    reasons = Counter(followed.job.reason for followed in pending if followed.job and followed.job.reason)
    why = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(MAX_NAMES))
    return [
        f"pending {len(pending):5}  {why}".rstrip(),
        f"running {len(running):5}  {_names(running)}".rstrip(),
        f"done    {len(outcome.results):5}",
        f"failed  {len(outcome.failures):5}",
    ]


def _names(running: Sequence["Followed"]) -> str:
    shown = [_name(followed) for followed in running[:MAX_NAMES]]
    return ", ".join([*shown, "..."] if len(running) > MAX_NAMES else shown)


def _name(followed: "Followed") -> str:
    job = followed.job
    where = f" ({job.id} on {job.node}, {job.used})" if job and job.node else ""
    return f"{followed.cell.title}{where}"
