"""What is said of jobs that died, that cannot start, or that nobody knows."""

from pathlib import Path

import pytest

from prune.cell.slurm_queue import Job
from prune.sweep.launchers.slurm.verdict import cannot_start, dead_failure, stuck_failure

RUNNING = Job("1", "RUNNING")


@pytest.mark.parametrize(
    ("reason", "alone", "beside_a_running_job"),
    [
        ("PartitionNodeLimit", True, True),
        ("PartitionTimeLimit", True, True),
        ("BadConstraints", True, True),
        ("DependencyNeverSatisfied", True, True),
        ("InvalidAccount", True, True),
        ("AssocMaxWallDurationPerJobLimit", True, True),
        ("QOSMaxCpuPerJobLimit", True, True),
        ("launch failed requeued held", True, True),
        ("AssocMaxJobsLimit", True, False),
        ("QOSMaxJobsPerUserLimit", True, False),
        ("Resources", False, False),
        ("Priority", False, False),
        ("JobArrayTaskLimit", False, False),
        ("Dependency", False, False),
        ("JobHeldUser", False, False),
        ("AssocGrpCpuLimit", False, False),
        ("", False, False),
    ],
)
def test_reasons_that_do_not_end_by_themselves(reason: str, alone: bool, beside_a_running_job: bool) -> None:
    job = Job("2", "PENDING", reason)
    assert cannot_start(job, [job]) is alone
    assert cannot_start(job, [job, RUNNING]) is beside_a_running_job


def test_a_job_that_runs_has_started() -> None:
    assert not cannot_start(Job("2", "RUNNING", "PartitionNodeLimit"), [])


def test_a_stuck_job_is_shown_with_its_reason(tmp_path: Path) -> None:
    failure = stuck_failure(Job("12_3", "PENDING", "PartitionNodeLimit"), tmp_path / "absent")
    assert failure.state == "PENDING" and "PartitionNodeLimit" in failure.reason and "scancel 12_3" in failure.reason
    assert failure.log is None


def test_a_job_that_died_is_shown_with_the_last_line_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "41_0_log.out"
    log.write_text("begin\nslurmstepd-n1: error: *** JOB 41 ON n1 CANCELLED AT 10:00 ***\n\n")
    failure = dead_failure(Job("41_0", "TIMEOUT"), "41_0", log)
    assert (failure.state, failure.log, failure.job_id) == ("TIMEOUT", log, "41_0")
    said = "slurmstepd-n1: error: *** JOB 41 ON n1 CANCELLED AT 10:00 ***"
    assert failure.reason == f"it reached its time limit (launcher.timeout_min); last words: {said}"
    log.write_text("begin\nsrun: error: n1: task 0: Killed\nsrun: Force Terminated StepId=5.0\n")
    assert dead_failure(Job("4", "FAILED"), "4", log).reason == "last words: srun: error: n1: task 0: Killed"
    log.write_text("[1/1] tiny/dense\n")
    assert dead_failure(Job("4", "NODE_FAIL"), "4", log).reason == "its node went down; last words: [1/1] tiny/dense"


def test_jobs_without_a_log(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert "before it began" in dead_failure(Job("4", "CANCELLED"), "4", absent).reason
    blind = dead_failure(Job("4", "FAILED", node="n3"), "4", absent)
    assert "n3 could not write" in blind.reason and "output_dir" in blind.reason and blind.wrong_use
    assert dead_failure(Job("4", "NODE_FAIL"), "4", absent).state == "NODE_FAIL"
    gone = dead_failure(None, "4", absent)
    assert gone.state == "gone" and "neither squeue nor sacct" in gone.reason and "cancelled while it waited" in gone.reason
    (tmp_path / "log").write_text("srun: error: n1: task 0: Killed\n")
    assert dead_failure(None, "4", tmp_path / "log").reason.endswith("last words: srun: error: n1: task 0: Killed")
