"""The follower remembers how a job ended, after the queue has forgotten it."""

import io
from pathlib import Path

import pytest
from rich.console import Console

import prune.sweep.launchers.slurm.follow as follow
from prune.cell.cell import make_cell
from prune.cell.slurm_queue import Job
from prune.sweep.launchers.slurm.follow import Follower
from prune.sweep.launchers.slurm.followed import Followed
from prune.sweep.launchers.slurm.screen import Screen
from prune.sweep.recorder import Outcome, Recorder
from prune.track.tracker import NullTracker

from ...conftest import Compose


def test_a_state_that_the_queue_forgot(compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = make_cell(compose_config(f"output_dir={tmp_path}"))
    outcome, looks = Outcome(), iter([{"7": Job("7", "RUNNING")}, {"7": Job("7", "OUT_OF_MEMORY")}])
    monkeypatch.setattr(follow, "queued_jobs", lambda: next(looks, {}))
    monkeypatch.setattr(follow, "accounted_jobs", lambda job_ids: None)
    monkeypatch.setattr(follow, "GRACE_S", 0.3)
    screen = Screen(Console(file=io.StringIO()))
    Follower([Followed(cell, "7", tmp_path / "log")], Recorder("s", outcome, NullTracker()), screen).follow(0.1)
    assert outcome.failures[cell.id].state == "OUT_OF_MEMORY"


def test_a_job_that_comes_back_is_alive_again(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = make_cell(compose_config(f"output_dir={tmp_path}"))
    states = ["NODE_FAIL", "PENDING", "PENDING", "PENDING", "PENDING", "PENDING", "PENDING", "CANCELLED"]
    looks = iter([{"7": Job("7", state)} for state in states])
    outcome = Outcome()
    monkeypatch.setattr(follow, "queued_jobs", lambda: next(looks, {}))
    monkeypatch.setattr(follow, "accounted_jobs", lambda job_ids: {})
    monkeypatch.setattr(follow, "GRACE_S", 0.3)
    screen = Screen(Console(file=io.StringIO()))
    Follower([Followed(cell, "7", tmp_path / "log")], Recorder("s", outcome, NullTracker()), screen).follow(0.1)
    assert outcome.failures[cell.id].state == "CANCELLED"


def test_following_may_end_while_some_are_on_their_way(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [make_cell(compose_config(f"output_dir={tmp_path}", f"calib.seed={seed}")) for seed in range(3)]
    queue = {"1": Job("1", "OUT_OF_MEMORY"), "2": Job("2", "OUT_OF_MEMORY"), "3": Job("3", "RUNNING")}
    monkeypatch.setattr(follow, "queued_jobs", lambda: queue)
    monkeypatch.setattr(follow, "accounted_jobs", lambda job_ids: {})
    monkeypatch.setattr(follow, "GRACE_S", 0.3)
    outcome, screen = Outcome(), Screen(Console(file=io.StringIO()))
    followed = [Followed(cell, job_id, tmp_path / "log") for cell, job_id in zip(cells, queue, strict=True)]
    Follower(followed, Recorder("s", outcome, NullTracker()), screen).follow(0.1, num_left=1)
    assert set(outcome.failures) == {cells[0].id, cells[1].id} and not outcome.results
