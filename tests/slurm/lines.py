"""Command lines of the tests on the private Slurm: run or started, and the cells that they leave."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prune.cell.standing import read_submission
from tests.warm import run_warm

SLURM = [
    *(
        "launcher=slurm",
        "launcher.mem_gb=1",
        "launcher.cpus_per_task=1",
        "launcher.poll_seconds=0.5",
        "launcher.account=lab",
    ),
    "launcher.timeout_min=60",
]
QUICK = ["calib.num_samples=2", "eval.tasks=[]", "eval.perplexity=[wikitext2]", "eval.num_chunks=2", "tracker=none"]
"""A cell of seconds: nearly all of it is importing and loading."""

HANGS_S = 600
"""After so long something hangs, however busy the machine is."""

IMPATIENT = """
from prune.main import main
from prune.sweep.launchers.slurm import follow
follow.PATIENCE_S = 3.0
follow.GRACE_S = 3.0
main()
"""
"""The program of a line that waits less long for a job that cannot start, and for the files of one that is over."""

COUNTING = """
import json, os, sys
from collections import Counter
opened, started = Counter(), 0

def count(event, arguments):
    global started
    if event == "open" and isinstance(arguments[0], str):
        opened[os.path.abspath(arguments[0])] += 1
    started += event == "subprocess.Popen"

sys.addaudithook(count)
from prune.main import main
try:
    main()
finally:
    work = {"opened": opened, "processes": started, "torch": "torch._C" in sys.modules}
    with open("work.json", "w") as stream:
        json.dump(work, stream)
"""
"""The program of a line that counts its work: files opened, processes started, whether torch was loaded."""

BARE = ["eval.tasks=[]", "eval.perplexity=[]", "tracker=none"]
"""A cell that only prunes."""


@dataclass
class Folder:
    """A working folder with the outputs of the lines that ran in it."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)
    program: str | None = None
    """What runs a line, as source; None: `python -m prune.main`."""

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """Cell name -> result.json."""
        found = [json.loads(path.read_text()) for path in self.path.glob("outputs/cells/*/result.json")]
        return {result["name"]: result for result in found}

    @property
    def statuses(self) -> dict[str, dict[str, Any]]:
        """Cell id -> status.json."""
        found = {path.parent.name: path for path in self.path.glob("outputs/cells/*/status.json")}
        return {cell: json.loads(path.read_text()) for cell, path in found.items()}

    def cell(self, cell_id: str) -> Path:
        """The folder of a cell."""
        return self.path / "outputs/cells" / cell_id

    def grid(self) -> dict[str, str]:
        """Cell name -> id, for the points of the last line and their dense cells."""
        latest = max(self.path.glob("outputs/sweeps/*/grid.jsonl"), key=lambda path: path.stat().st_mtime)
        rows = [json.loads(line) for line in latest.read_text().splitlines()]
        return {row["name"]: row["cell"] for row in rows} | {"dense": rows[0]["dense_cell"]}

    def job_of(self, cell_id: str) -> str | None:
        """The job that a cell was last submitted as."""
        submission = read_submission(self.cell(cell_id))
        return submission.job_id if submission else None

    def _variables(self) -> dict[str, str]:
        return os.environ | {"COLUMNS": "160", "OMP_NUM_THREADS": "1"} | self.environment

    def start(self, *arguments: str) -> "Line":
        """A line in the background, that hears Ctrl-C."""
        heard = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen(
                [sys.executable, *(["-m", "prune.main"] if self.program is None else ["-c", self.program]), *arguments],
                cwd=self.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
                env=self._variables(),
            )  # fmt: skip
        finally:
            signal.signal(signal.SIGINT, heard)
        return Line(process)

    def run(self, *arguments: str, timeout_s: float = HANGS_S) -> "Said":
        """A line run to its end."""
        if self.program is not None:
            return self.start(*arguments).end(timeout_s)
        done = run_warm("prune.main", arguments, self.path, self._variables(), timeout_s)
        return Said(done.returncode, done.stdout, done.stderr)

    def count(self, *arguments: str) -> tuple["Said", "Work"]:
        """A line run to its end, and the work that it did."""
        said = Folder(self.path, self.environment, COUNTING).run(*arguments)
        work = json.loads((self.path / "work.json").read_text())
        inside = {
            path: number for path, number in work["opened"].items() if Path(path).is_relative_to(self.path / "outputs")
        }
        return said, Work(inside, work["processes"], work["torch"])

    def wait_for_status(self, cell_id: str, state: str, *, in_job: bool = True) -> dict[str, Any]:
        """The status of a cell as soon as it says `state` (in the job that it was last submitted as)."""

        def reached() -> bool:
            status = self.statuses.get(cell_id, {})
            return status.get("state") == state and (not in_job or status["job_id"] == self.job_of(cell_id))

        wait_until(reached, f"{cell_id} to be {state}")
        return self.statuses[cell_id]


@dataclass(frozen=True)
class Said:
    """How a line ended and what it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Work:
    """What a line did."""

    opened: dict[str, int]
    """File under outputs/ -> how often it was opened."""
    processes: int
    torch: bool
    """Whether torch was loaded."""


@dataclass
class Line:
    """A line that runs."""

    process: subprocess.Popen[str]
    heard: str = ""
    """What `wait_until_said` has read of its output."""

    def end(self, timeout_s: float = HANGS_S) -> Said:
        """Wait for its end."""
        try:
            out, err = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"the line did not end in {timeout_s} s:\n{out}\n{err}") from None
        return Said(self.process.returncode, self.heard + out, err)

    def wait_until(self, holds: Callable[[], bool], what: str, timeout_s: float = HANGS_S) -> None:
        """Return as soon as `holds`; an AssertionError says what was waited for, and how the line ended if it did."""

        def holds_or_ended() -> bool:
            if self.process.poll() is not None and not holds():
                raise AssertionError(f"the line ended before {what}: {self.end()}")
            return holds()

        wait_until(holds_or_ended, what, timeout_s)

    def wait_until_said(self, words: str) -> None:
        """Return as soon as the line has printed `words`; `end` still returns all that it says."""
        assert self.process.stdout is not None
        while words not in self.heard:
            ready, _, _ = select.select([self.process.stdout], [], [], HANGS_S)
            data = os.read(self.process.stdout.fileno(), 65_536) if ready else b""
            assert data, f"it did not say {words!r} but:\n{self.heard}"
            self.heard += data.decode()

    def interrupt(self) -> Said:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.end()


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = HANGS_S) -> None:
    """Return as soon as `holds`; an AssertionError says what was waited for."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, f"waited {timeout_s} s for {what}"
        time.sleep(0.1)
