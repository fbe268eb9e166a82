"""Jobs for calibration sets that the model makes: what is submitted, in which order, and what waits for what."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import prune.sweep.launchers.slurm.follow as follow
import prune.sweep.launchers.slurm.launcher as launcher
import prune.sweep.launchers.slurm.submit as submit
from prune.calib.set_folder import TOKENS_FILE, set_folder
from prune.cell.cell import Cell, make_cell
from prune.cell.model_sets import making_folder
from prune.cell.slurm_queue import Job
from prune.cell.standing import read_submission
from prune.sweep.grid import GridPoint
from prune.sweep.launchers.slurm.follow import Follower
from prune.sweep.launchers.slurm.followed import Followed
from prune.sweep.launchers.slurm.screen import Screen
from prune.sweep.launchers.slurm.sets import SetJob
from prune.sweep.launchers.slurm.submit import SubmittedJob
from prune.sweep.recorder import Outcome, Recorder
from prune.sweep.sweep import Sweep, make_sweep
from prune.track.tracker import NullTracker

from ...conftest import Compose

SMALL = ["calib.num_samples=2", "calib.seq_len=48", "eval.perplexity=[]", "eval.tasks=[]", "launcher=slurm"]


@dataclass
class Site:
    """A cluster that takes whatever is submitted."""

    arrays: list[tuple[list[Any], str | None]] = field(default_factory=list)
    """The programs and the dependency of each submission."""

    def submit(self, jobs: Sequence[Any], config: Any, parameters: Mapping[str, Any], folder: Path) -> list[SubmittedJob]:
        """As `submit_array`."""
        self.arrays.append((list(jobs), parameters["dependency"]))
        number = 10 * len(self.arrays)
        return [SubmittedJob(f"{number}_{index}", job.cells, folder / "log") for index, job in enumerate(jobs)]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    found = Site()
    monkeypatch.setattr(submit, "submit_array", found.submit)
    monkeypatch.setattr(submit, "max_array_size", lambda: 1000)
    monkeypatch.setattr(launcher, "queued_jobs", dict)
    return found


def sweep_of(compose_config: Compose, folder: Path, *points: Sequence[str]) -> Sweep:
    configs = [compose_config(*SMALL, f"output_dir={folder}", *point) for point in points]
    return make_sweep([GridPoint.of_config(config, list(point)) for config, point in zip(configs, points, strict=True)], [])


def submitted(sweep: Sweep) -> list[Followed]:
    recorder = Recorder("s", Outcome(), NullTracker())
    followed, num_open = launcher.submit_some(sweep.cells, sweep, recorder, Console(file=io.StringIO()))
    assert num_open == 0
    return followed


METHODS = ["method=wanda", "method=ria"]
GRID = [[f"calib={calib}", method] for calib in ("generated", "c4") for method in METHODS]


def test_sets_come_first_and_only_their_cells_wait(compose_config: Compose, tmp_path: Path, site: Site) -> None:
    seeds = [["calib=generated", "calib.seed=1", "method=wanda"]]
    sweep = sweep_of(compose_config, tmp_path, *GRID, *seeds)
    followed = submitted(sweep)
    (sets, first), (plain, second), (waiting, third) = site.arrays
    assert [type(job) for job in sets] == [SetJob, SetJob] and first is None
    assert {cell.axes.calib for job in plain for cell in job.cells} == {None, "c4"} and second is None
    assert [cell.axes.calib for job in waiting for cell in job.cells] == ["generated"] * 3
    assert third == "afterany:10_0:10_1"
    by_seed = {one.cell.config.calib.seed: one.set_job_id for one in followed if one.cell.axes.calib == "generated"}
    assert by_seed == {0: "10_0", 1: "10_1"}
    assert {one.set_job_id for one in followed if one.cell.axes.calib != "generated"} == {None}
    assert one_of(followed, "generated").roots == ["30", "10"]


def one_of(followed: Sequence[Followed], calib: str) -> Followed:
    return next(one for one in followed if one.cell.axes.calib == calib)


def test_a_set_that_a_job_makes_already_gets_no_second(
    compose_config: Compose, tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(sweep_of(compose_config, tmp_path, ["calib=generated", "method=wanda"]))
    monkeypatch.setattr(launcher, "queued_jobs", lambda: {"10_0": Job("10_0", "RUNNING")})
    again = sweep_of(compose_config, tmp_path, ["calib=generated", "method=ria"])
    before = len(site.arrays)
    submitted(again)
    assert not any(isinstance(job, SetJob) for jobs, _ in site.arrays[before:] for job in jobs)
    assert site.arrays[-1][1] == "afterany:10_0"
    cell = next(cell for cell in again.cells if cell.axes.calib)
    kept = read_submission(making_folder(cell))
    assert kept is not None and kept.job_id == "10_0"


def test_a_set_that_is_there_needs_no_job(compose_config: Compose, tmp_path: Path, site: Site) -> None:
    sweep = sweep_of(compose_config, tmp_path, ["calib=generated", "method=wanda"])
    for cell in sweep.cells:
        if cell.recipe is not None:
            folder = set_folder(cell.recipe, tmp_path)
            folder.mkdir(parents=True)
            (folder / TOKENS_FILE).touch()
    submitted(sweep)
    assert [dependency for _, dependency in site.arrays] == [None]


def test_the_lines_own_dependency_and_the_limit_of_jobs_at_once_hold_too(
    compose_config: Compose, tmp_path: Path, site: Site
) -> None:
    limits = ["launcher.array_parallelism=2", "launcher.dependency='afterok:7'"]
    submitted(sweep_of(compose_config, tmp_path, *[[*point, *limits] for point in GRID]))
    assert [dependency for _, dependency in site.arrays] == ["afterok:7", "afterok:7", "afterok:7,afterany:10_0:20"]


def test_cells_do_not_wait_for_a_set_whose_job_cannot_start(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell: Cell = make_cell(compose_config(*SMALL, "calib=generated", f"output_dir={tmp_path}"))
    queue = {"7": Job("7", "PENDING", "Dependency"), "6": Job("6", "PENDING", "BadConstraints")}
    monkeypatch.setattr(follow, "queued_jobs", lambda: queue)
    monkeypatch.setattr(follow, "PATIENCE_S", 0.2)
    outcome, screen = Outcome(), Screen(Console(file=io.StringIO()))
    followed = Followed(cell, "7", tmp_path / "log", set_job_id="6")
    Follower([followed], Recorder("s", outcome, NullTracker()), screen).follow(0.1)
    failure = outcome.failures[cell.id]
    assert (failure.state, failure.job_id) == ("PENDING", "6") and "BadConstraints" in failure.reason
