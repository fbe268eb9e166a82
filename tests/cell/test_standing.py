"""Where a cell stands, by its files and the queue: each combination that a crash can leave behind."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from prune.cell.holder import this_process
from prune.cell.lock import claim
from prune.cell.slurm_queue import Job
from prune.cell.standing import last_line, read_submission, stand_unfinished, write_submission
from prune.cell.state import State, read_status, write_status
from prune.files import now
from prune.sweep.launchers.slurm.follow import mark_dead


def submitted(folder: Path, job_id: str = "12_3") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_submission(folder, job_id, folder / "job.out", "sweep")
    return folder


def status_of(folder: Path, state: State, error: str | None, job: str, since: str) -> None:
    write_status(folder, state, error, job)
    status = read_status(folder) or {}
    (folder / "status.json").write_text(json.dumps(status | {"since": since}))


def test_a_cell_that_was_never_tried(tmp_path: Path) -> None:
    assert stand_unfinished(tmp_path / "absent", {}).state is State.todo


def test_a_living_holder_runs_it(tmp_path: Path) -> None:
    with claim(tmp_path):
        write_status(tmp_path, State.running)
        standing = stand_unfinished(tmp_path, {})
        assert standing.state is State.running and standing.holder is not None


def test_a_killed_process_left_running_behind(tmp_path: Path) -> None:
    write_status(tmp_path, State.running)
    (tmp_path / ".claim-0").write_text(json.dumps(asdict(replace(this_process(), started="1"))))
    (tmp_path / "run.log").write_text("one\ntwo\n")
    failure = stand_unfinished(tmp_path, {}).failure
    assert failure is not None and failure.state == "killed" and failure.reason.endswith("two")


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "CONFIGURING"])
def test_a_job_on_its_way(tmp_path: Path, state: str) -> None:
    standing = stand_unfinished(submitted(tmp_path), {"12_3": Job("12_3", state)})
    assert standing.state is State.pending and standing.submission == read_submission(tmp_path)


def test_a_job_that_ended_before_the_cell_began(tmp_path: Path) -> None:
    standing = stand_unfinished(submitted(tmp_path), {"12_3": Job("12_3", "CANCELLED")})
    assert standing.state is State.failed and standing.failure is not None and standing.failure.state == "CANCELLED"
    forgotten = stand_unfinished(tmp_path, {}).failure
    assert forgotten is not None and (forgotten.state, forgotten.job_id) == ("gone", "12_3")


def test_a_failure_of_an_earlier_job_does_not_hide_that_a_new_one_waits(tmp_path: Path) -> None:
    status_of(tmp_path, State.failed, "ValueError: no", "11", "2020-01-01T00:00:00+00:00")
    assert stand_unfinished(submitted(tmp_path), {"12_3": Job("12_3", "PENDING")}).state is State.pending
    failure = stand_unfinished(tmp_path, {}).failure
    assert failure is not None and failure.state == "gone"


def test_a_cell_that_failed_in_a_job_that_goes_on_with_others(tmp_path: Path) -> None:
    submitted(tmp_path)
    status_of(tmp_path, State.failed, "ValueError: no", "12_3", now())
    standing = stand_unfinished(tmp_path, {"12_3": Job("12_3", "RUNNING")})
    assert standing.state is State.failed
    assert standing.failure is not None and (standing.failure.state, standing.failure.reason) == ("failed", "ValueError: no")


def test_a_cell_between_two_runs_of_its_job_is_pending(tmp_path: Path) -> None:
    submitted(tmp_path)
    status_of(tmp_path, State.running, None, "12_3", now())
    assert stand_unfinished(tmp_path, {"12_3": Job("12_3", "PENDING", "BeginTime")}).state is State.pending


@pytest.mark.parametrize("since", ["2020-01-01T00:00:00+00:00", "2090-01-01T00:00:00+00:00"])
def test_a_clock_that_is_wrong_changes_nothing(tmp_path: Path, since: str) -> None:
    """What a node wrote before or after the submission is told by its job and its content, not by its clock."""
    status_of(tmp_path, State.failed, "ValueError: no", "11", since)
    failure = stand_unfinished(submitted(tmp_path), {}).failure
    assert failure is not None and failure.state == "gone", "it failed before"
    status_of(tmp_path, State.failed, "ValueError: again", "12_3", since)
    failure = stand_unfinished(tmp_path, {}).failure
    assert failure is not None and failure.reason == "ValueError: again"
    status_of(tmp_path, State.failed, "OSError: on this machine, without a job", "", since)
    failure = stand_unfinished(tmp_path, {}).failure
    assert failure is not None and failure.reason.startswith("OSError")


def test_a_job_that_failed_before_its_submission_was_noted(tmp_path: Path) -> None:
    status_of(tmp_path, State.failed, "ValueError: no", "12_3", now())
    failure = stand_unfinished(submitted(tmp_path), {}).failure
    assert failure is not None and failure.reason == "ValueError: no"


@pytest.mark.parametrize(
    ("error", "state", "reason", "wrong_use"),
    [
        ("UserError: too few rows: 3.", "failed", "too few rows: 3.", True),
        ("ValueError: no", "failed", "ValueError: no", False),
        ("TIMEOUT: its time was over", "TIMEOUT", "its time was over", False),
        ("interrupted", "failed", "interrupted", False),
    ],
)
def test_failures_are_read_back(tmp_path: Path, error: str, state: str, reason: str, wrong_use: bool) -> None:
    write_status(tmp_path, State.failed, error)
    failure = stand_unfinished(tmp_path, {}).failure
    assert failure is not None and (failure.state, failure.reason, failure.wrong_use) == (state, reason, wrong_use)


def test_what_a_dead_cell_died_of_is_written_for_it(tmp_path: Path) -> None:
    submitted(tmp_path)
    status_of(tmp_path, State.running, None, "12_3", now())
    standing = stand_unfinished(tmp_path, {"12_3": Job("12_3", "OUT_OF_MEMORY")})
    assert standing.failure is not None and standing.failure.state == "OUT_OF_MEMORY"
    mark_dead(tmp_path, standing.failure)
    status = read_status(tmp_path) or {}
    assert (status["state"], status["job_id"]) == ("failed", "12_3") and status["error"].startswith("OUT_OF_MEMORY: ")
    again = stand_unfinished(tmp_path, {}).failure
    assert again is not None and again.state == "OUT_OF_MEMORY"


def test_the_living_are_not_marked_dead(tmp_path: Path) -> None:
    submitted(tmp_path)
    failure = stand_unfinished(tmp_path, {}).failure
    assert failure is not None
    with claim(tmp_path):
        write_status(tmp_path, State.running)
        mark_dead(tmp_path, failure)
        assert (read_status(tmp_path) or {})["state"] == "running"


def test_last_lines(tmp_path: Path) -> None:
    assert last_line(None) == last_line(tmp_path / "absent") == "it left no log"
    (tmp_path / "log").write_text("\n")
    assert last_line(tmp_path / "log") == "its log is empty"
    (tmp_path / "log").write_text("x" * 10_000 + "\nthe end \n\n")
    assert last_line(tmp_path / "log") == "the end"
