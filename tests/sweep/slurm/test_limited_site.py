"""A site that takes few jobs at a time, and counts a job for a while after its end."""

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from submitit.core.utils import FailedJobError

import prune.sweep.launchers.slurm.follow as follow
import prune.sweep.launchers.slurm.launcher as launcher
import prune.sweep.launchers.slurm.submit as submit
from prune.cell.resources import Resources
from prune.cell.slurm_queue import Job
from prune.errors import UserError
from prune.sweep.grid import GridPoint
from prune.sweep.launchers.slurm.submit import SubmittedJob
from prune.sweep.recorder import Outcome, Recorder
from prune.sweep.sweep import Sweep, make_sweep
from prune.track.tracker import NullTracker

from ...conftest import Compose

GRACE_S = 0.1
LINE = ["launcher=slurm", "launcher.poll_seconds=1", "method=random"]


class Site:
    """Each submission has its answer: how many jobs of it are taken at most. The jobs end at once, out of memory."""

    def __init__(self, *answers: int) -> None:
        self._answers = list(answers)
        self.taken: list[int] = []

    def submit(self, jobs: Sequence[Any], config: Any, parameters: Any, folder: Path) -> list[SubmittedJob]:
        """As `submit_array`; an array that is too large is refused, and its half has the same answer."""
        if len(jobs) > self._answers[0]:
            if len(jobs) == 1:
                self._answers.pop(0)
            raise FailedJobError("sbatch: error: AssocMaxSubmitJobLimit")
        self._answers.pop(0)
        self.taken.append(len(jobs))
        return [SubmittedJob(f"{len(self.taken)}_{index}", job.cells, folder / "log") for index, job in enumerate(jobs)]

    def queue(self) -> dict[str, Job]:
        ids = [f"{number}_{index}" for number, count in enumerate(self.taken, 1) for index in range(count)]
        return {job_id: Job(job_id, "OUT_OF_MEMORY") for job_id in ids}


def run(site: Site, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> tuple[Outcome, str]:
    monkeypatch.setattr(submit, "submit_array", site.submit)
    monkeypatch.setattr(submit, "max_array_size", lambda: 1000)
    monkeypatch.setattr(launcher, "queued_jobs", dict)
    monkeypatch.setattr(follow, "queued_jobs", site.queue)
    monkeypatch.setattr(follow, "accounted_jobs", lambda job_ids: {})
    monkeypatch.setattr(follow, "GRACE_S", GRACE_S)
    monkeypatch.setattr(launcher.time, "sleep", lambda seconds: None)
    outcome, said = Outcome(), io.StringIO()
    recorder = Recorder("s", outcome, NullTracker())
    launcher.LAUNCHER.run(sweep, sweep.cells, recorder, Resources(), Console(file=said, width=400))
    return outcome, said.getvalue()


@pytest.fixture
def sweep(compose_config: Compose, tmp_path: Path) -> Sweep:
    configs = [compose_config(*LINE, f"calib.seed={seed}", f"output_dir={tmp_path}") for seed in range(4)]
    return make_sweep([GridPoint.of_config(config, []) for config in configs], [])


def test_jobs_that_have_ended_and_still_count(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    num_cells = len(sweep.cells)
    site = Site(2, 0, 0, 0, num_cells)  # after the first two, three refusals of all that is left
    outcome, said = run(site, sweep, monkeypatch)
    assert set(outcome.failures) == {cell.id for cell in sweep.cells}
    assert site.taken == [2, num_cells - 2]
    assert said.count("are not submitted yet") == 1, said


class OneAfterTheOther(Site):
    """The jobs of an array end one after the other: while what the first died of is still open, the second ends."""

    def __init__(self, *answers: int) -> None:
        super().__init__(*answers)
        self._began: float | None = None

    def queue(self) -> dict[str, Job]:
        self._began = self._began or time.monotonic()
        num_ended = 1 + int((time.monotonic() - self._began) / (0.6 * GRACE_S))
        jobs = list(super().queue().values())
        return {job.id: job if place < num_ended else Job(job.id, "RUNNING") for place, job in enumerate(jobs)}


@pytest.mark.parametrize("num_refusals", [1, 2, 5])
def test_a_job_that_has_just_ended_is_not_submitted_again(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, num_refusals: int
) -> None:
    num_cells = len(sweep.cells)
    site = OneAfterTheOther(2, *[0] * num_refusals, num_cells)
    outcome, _ = run(site, sweep, monkeypatch)
    assert site.taken == [2, num_cells - 2]
    assert set(outcome.failures) == {cell.id for cell in sweep.cells}


def test_a_site_that_takes_nothing_from_the_start(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"takes no more of your jobs now"):
        run(Site(0), sweep, monkeypatch)
