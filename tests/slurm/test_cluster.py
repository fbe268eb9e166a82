"""The private cluster does what the tests of the launcher rely on."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, ClusterError, ClusterOptions

pytestmark = pytest.mark.slow


@pytest.fixture
def submit(cluster: Cluster, tmp_path: Path) -> Callable[..., str]:
    """Submits a shell line, and returns the job's id."""

    def run(line: str, *options: str) -> str:
        return cluster.run("sbatch", "--parsable", f"--output={tmp_path}/%j.out", *options, f"--wrap={line}").strip()

    return run


def processes_with(text: str) -> list[str]:
    """The command lines of all processes, apart from this one, that have the text there or in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = [(process / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")]
        except OSError:
            continue
        if any(text in word for word in words) and int(process.name) != os.getpid():
            found.append(words[0].replace("\0", " "))
    return found


def recorded(cluster: Cluster, job: str) -> list[str]:
    """The states that sacct has for a job."""
    return cluster.run("sacct", "-n", "-P", "-X", "-j", job, "-o", "State").split("\n")[:-1]


def test_a_step_runs_on_both_nodes(cluster: Cluster) -> None:
    assert sorted(cluster.run("srun", "-N2", "printenv", "SLURMD_NODENAME").split()) == ["n1", "n2"]


def test_slurm_is_found_through_the_environment(cluster: Cluster) -> None:
    shown = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, check=True).stdout
    assert "is UP" in shown
    assert cluster.environment["SLURM_CONF"] == os.environ["SLURM_CONF"]


def test_jobs_on_a_node_get_different_gpus(cluster: Cluster, submit: Callable[..., str], tmp_path: Path) -> None:
    options = ("--gpus-per-node=1", "--nodelist=n1")
    meet = f"until [ $(ls {tmp_path}/*.out | wc -l) -ge 2 ]; do sleep 0.1; done"  # both have begun
    jobs = [submit(f"echo $CUDA_VISIBLE_DEVICES; {meet}", *options) for _ in range(2)]
    for job in jobs:
        cluster.wait_for_job(job, "COMPLETED")
    assert {(tmp_path / f"{job}.out").read_text().strip() for job in jobs} == {"0", "1"}


def test_a_finished_job_is_in_the_records(cluster: Cluster, submit: Callable[..., str]) -> None:
    job = submit("exit 3")
    cluster.wait_for(lambda: recorded(cluster, job) == ["FAILED"], "sacct knows the job")
    assert cluster.run("sacct", "-X", "-n", "-P", "-j", job, "-o", "ExitCode").strip() == "3:0"


def test_the_records_may_be_away(cluster: Cluster, submit: Callable[..., str]) -> None:
    cluster.stop_accounting()
    with pytest.raises(ClusterError, match="Connection refused"):
        recorded(cluster, "1")
    job = submit("true")
    cluster.wait_for_job(job, "COMPLETED")
    cluster.start_accounting()
    cluster.wait_for(lambda: recorded(cluster, job) == ["COMPLETED"], "sacct knows the job")


def test_a_controller_that_comes_back_knows_its_jobs(cluster: Cluster, submit: Callable[..., str]) -> None:
    running, queued = submit("sleep 60"), submit("true", "--hold")
    cluster.wait_for_job(running, "RUNNING")
    cluster.stop_controller()
    assert "slurmctld" not in cluster.pids
    cluster.start_controller()
    assert cluster.job_states(running) == {running: "RUNNING"}
    assert cluster.job_states(queued) == {queued: "PENDING"}
    cluster.run("scontrol", "release", queued)
    cluster.wait_for_job(queued, "COMPLETED")


def test_a_lost_node_fails_a_job_or_sends_it_elsewhere(cluster: Cluster, submit: Callable[..., str]) -> None:
    fails = submit("sleep 61.5", "--nodelist=n1", "--no-requeue")
    moves = submit("sleep 61.5", "--requeue", "--cpus-per-task=1", "--exclude=n2", "--exclude=blind")
    for job in (fails, moves):
        cluster.wait_for_job(job, "RUNNING")
    cluster.stop_node("n1")
    assert cluster.job_states(fails) == {fails: "NODE_FAIL"}
    assert cluster.job_states(moves) == {moves: "PENDING"}
    cluster.wait_for(
        lambda: not [line for line in processes_with("SLURMD_NODENAME=n1") if "61.5" in line], "Its processes are gone"
    )
    cluster.wait_for(lambda: recorded(cluster, fails) == ["NODE_FAIL"], "sacct knows the lost job")
    cluster.start_node("n1")
    assert cluster.node_states()["n1"] == "idle"


def test_what_a_partition_does_not_allow_waits(cluster: Cluster, submit: Callable[..., str]) -> None:
    jobs = [submit("true", "--partition=small", "--nodes=2"), submit("true", "--partition=small", "--time=11")]
    cluster.wait_for(
        lambda: (
            cluster.run("squeue", "-h", "-j", ",".join(jobs), "-o", "%r", "-S", "i").split()
            == ["PartitionNodeLimit", "PartitionTimeLimit"]
        ),
        "Both jobs wait",
    )
    assert {state for job in jobs for state in cluster.job_states(job).values()} == {"PENDING"}


def test_only_known_accounts_are_accepted(cluster: Cluster, submit: Callable[..., str]) -> None:
    cluster.wait_for_job(submit("true", "--account=lab"), "COMPLETED")
    with pytest.raises(ClusterError, match="Invalid account"):
        submit("true", "--account=nope")


def test_the_blind_node_does_not_see_the_folder(cluster: Cluster) -> None:
    folder = cluster.options.blind_folder
    assert folder is not None
    (folder / "there").touch()
    assert cluster.run("srun", "--partition=main", "ls", str(folder)).split() == ["there"]
    assert cluster.run("srun", "--partition=blind", "ls", str(folder)).split() == []


def test_a_stubborn_job_is_gone_after_the_test(cluster: Cluster, submit: Callable[..., str]) -> None:
    job = submit("trap '' TERM; while :; do sleep 61.25; done")
    cluster.wait_for_job(job, "RUNNING")
    cluster.stop_node("n2")
    cluster.stop_controller()
    cluster.restore()
    assert cluster.run("squeue", "-h") == ""
    assert set(cluster.node_states().values()) == {"idle"}
    cluster.wait_for(
        lambda: not [line for line in processes_with("SLURM_JOB_ID=") if "61.25" in line], "Its processes are gone"
    )


def test_nothing_is_left_after_the_stop(start_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    other = start_cluster(accounting=False, num_nodes=1, gpus=0)
    line = f"--wrap=trap '' TERM; while :; do sleep 61.75; done; : {tmp_path}"
    job = other.run("sbatch", "--parsable", "--output=/dev/null", line).strip()
    assert job == "1"
    other.wait_for_job(job, "RUNNING")
    assert processes_with(str(other.config))
    other.stop()
    left = processes_with(str(other.config))
    assert left == []
    assert other.pids == {}


def test_accounts_need_accounting() -> None:
    with pytest.raises(ValueError, match="needs accounting=True"):
        ClusterOptions(accounting=False, enforce_accounts=True)
