"""What is read from Slurm's commands, on texts that Slurm 22.05 printed, and on commands that fail."""

import os
import stat
from pathlib import Path

import pytest

import prune.cell.slurm_queue
from prune.cell.slurm_queue import (
    Job,
    OwnedJob,
    SlurmUnavailableError,
    accounted_jobs,
    cluster_name,
    find_job,
    parse_accounting,
    parse_queue,
    queued_jobs,
)
from prune.sweep.launchers.slurm.cluster import (
    DEFAULT_MAX_ARRAY_SIZE,
    environment_for_submission,
    max_array_size,
    missing_commands,
)

QUEUE = """\
41_3|PENDING|JobArrayTaskLimit||0:00|4:00:00
41_0|RUNNING|None|n1|1:02|3:58:58
40|COMPLETED|None|n2|0:07|4:00:00
39|FAILED|NonZeroExitCode|n1|0:03|4:00:00
"""

ACCOUNTING = """\
41_0|RUNNING|0:0|n1|00:01:02
41_[1-3%1]|PENDING|0:0|None assigned|00:00:00
38|CANCELLED by 0|0:15|n2|00:00:21
37|FAILED|0:53|n1|00:00:00
"""


def script(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_queue() -> None:
    jobs = parse_queue(QUEUE)
    assert jobs["41_3"] == Job("41_3", "PENDING", "JobArrayTaskLimit", "", "0:00", "4:00:00")
    assert jobs["41_0"].node == "n1" and jobs["41_0"].reason == ""
    assert [jobs[key].is_pending for key in ("41_3", "41_0", "40", "39")] == [True, False, False, False]
    assert [jobs[key].is_running for key in ("41_3", "41_0", "40", "39")] == [False, True, False, False]
    assert [jobs[key].has_ended for key in ("41_3", "41_0", "40", "39")] == [False, False, True, True]


def test_accounting() -> None:
    jobs = parse_accounting(ACCOUNTING)
    assert set(jobs) == {"41_0", "38", "37"}
    assert (jobs["38"].state, jobs["37"].exit_code) == ("CANCELLED", "0:53")


def test_slurms_own_words_are_kept(commands: Path) -> None:
    script(commands, "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SlurmUnavailableError, match="Unable to contact slurm controller"):
        queued_jobs()


def test_without_commands(commands: Path) -> None:
    assert missing_commands() == ["sbatch", "squeue", "scontrol", "scancel"]
    with pytest.raises(SlurmUnavailableError, match="squeue is not on the PATH"):
        queued_jobs()
    assert max_array_size() == DEFAULT_MAX_ARRAY_SIZE
    assert accounted_jobs(["12"]) is None


def test_a_command_that_hangs(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(commands, "squeue", "exec /bin/sleep 30")
    monkeypatch.setattr(prune.cell.slurm_queue, "_TIMEOUT_S", 0.2)
    with pytest.raises(SlurmUnavailableError, match="did not answer"):
        queued_jobs()


def test_the_sites_array_size(commands: Path) -> None:
    script(commands, "scontrol", "echo 'MaxArraySize            = 21'")
    assert max_array_size() == 21


def test_accounting_is_asked_once_for_an_array(commands: Path) -> None:
    script(
        commands,
        "sacct",
        'echo "$@" >&2; for last in "$@"; do :; done; [ "$last" = "--jobs=41,7" ] && echo "41_0|FAILED|1:0|n1|1"',
    )
    jobs = accounted_jobs(["41_0", "41_1", "7"])
    assert jobs is not None and jobs["41_0"].state == "FAILED"
    assert accounted_jobs([]) == {}


def test_what_a_job_passes_on_is_taken_away_but_for_where_slurm_is_and_what_a_user_sets() -> None:
    inside = {"SLURM_JOB_ID": "3", "SLURM_CONF": "/etc/s.conf", "SBATCH_ACCOUNT": "a", "SLURM_GPUS": "1", "HOME": "/h"}
    assert environment_for_submission(inside, []) == {"SLURM_CONF": "/etc/s.conf", "SBATCH_ACCOUNT": "a", "HOME": "/h"}


def test_variables_count_where_the_script_says_nothing() -> None:
    outside = {"SLURM_CONF": "/etc/s.conf", "SBATCH_ACCOUNT": "a", "SBATCH_TIMELIMIT": "5", "SBATCH_GPUS_PER_NODE": "2"}
    assert environment_for_submission(outside, []) == outside
    kept = {"SLURM_CONF": "/etc/s.conf", "SBATCH_ACCOUNT": "a"}
    assert environment_for_submission(outside, ["time", "gpus-per-node", "partition"]) == kept


def test_the_queue_is_asked_for_whoever_we_are_not_for_whom_the_shell_names(
    commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "alice")
    script(commands, "squeue", f'case "$*" in *"--user={os.getuid()} "*) echo "7|RUNNING|None|n1|1|2";; esac')
    assert queued_jobs().keys() == {"7"}


def test_any_users_job_and_its_owner(commands: Path) -> None:
    script(commands, "squeue", 'case "$*" in *--user*) exit 1;; *--jobs=7_1*) echo "1001|7_1|RUNNING|None|n1|1|2";; esac')
    assert find_job("7_1") == OwnedJob(Job("7_1", "RUNNING", "", "n1", "1", "2"), 1001)
    assert find_job("8") is None
    script(commands, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    with pytest.raises(SlurmUnavailableError, match="Invalid job id"):
        find_job("9")


def test_the_clusters_name(commands: Path) -> None:
    cluster_name.cache_clear()
    with pytest.raises(SlurmUnavailableError):
        cluster_name()
    script(commands, "scontrol", "echo 'ClusterName             = lab'")
    assert cluster_name() == "lab"
    cluster_name.cache_clear()
