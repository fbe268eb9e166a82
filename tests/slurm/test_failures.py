"""What goes wrong on a cluster: each failure is found, named as what it was, and mended by the same line."""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from prune.calib.recipe import Recipe
from tests.conftest import Compose
from tests.slurm.cluster import Cluster
from tests.slurm.lines import BARE, IMPATIENT, QUICK, SLURM, Folder, Said
from tests.sweep.test_one_bad_model import OVERFLOWS, TOO_LARGE, too_large

SEEDS = "0,1,2,3,4,5"
GRID = ["-m", "method=wanda", "calib=c4", f"calib.seed={SEEDS}", *QUICK, *SLURM, "launcher.requeue=false"]


def cell_name(seed: int) -> str:
    return f"tiny/c4/wanda/50%/s{seed}"


def damage_calibration_set(folder: Folder, compose_config: Compose, seed: int) -> Path:
    """Put a broken calibration set where that of `seed` belongs, so that its cell raises."""
    config = compose_config("calib=c4", f"calib.seed={seed}", "calib.num_samples=2")
    broken = folder.path / "outputs/calib" / Recipe(config.calib, None, config.data, config.model).id()
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{}")
    return broken


def kill(pid: int, with_signal: signal.Signals) -> None:
    os.kill(pid, with_signal)


@pytest.mark.slow
def test_each_failure_is_named_and_the_same_line_runs_only_those(
    cluster: Cluster, tmp_path: Path, compose_config: Compose
) -> None:
    folder = Folder(tmp_path)
    broken = damage_calibration_set(folder, compose_config, 0)
    held = "launcher.additional_parameters={hold: true}"
    line = folder.start(*GRID, "launcher.timeout_min=5", "launcher.max_num_timeout=0", "launcher.signal_delay_s=5", held)
    line.wait_until(lambda: len(list(tmp_path.glob("outputs/cells/*/job.json"))) == 7, "seven submitted jobs")
    cells = folder.grid()
    jobs = {seed: folder.job_of(cells[cell_name(seed)]) or "" for seed in range(6)}
    root = jobs[0].partition("_")[0]

    def release(*job_ids: str, node: str = "n1") -> None:
        for job_id in job_ids:
            cluster.run("scontrol", "update", f"JobId={job_id}", f"ReqNodeList={node}")
            cluster.run("scontrol", "release", job_id)

    def stop_on(seed: int, node: str = "n1") -> int:
        """Release a cell's job and stop its process as soon as it works; return its pid."""
        release(jobs[seed], node=node)
        pid = int(folder.wait_for_status(cells[cell_name(seed)], "running")["pid"])
        kill(pid, signal.SIGSTOP)
        return pid

    release(folder.job_of(cells["dense"]) or "", jobs[0])
    stop_on(3)
    cluster.run(
        "scontrol", "update", f"JobId={jobs[3]}", "EndTime=now+1"
    )  # sooner than the minute that a limit has at least
    kill(stop_on(1), signal.SIGKILL)
    stop_on(2)
    cluster.run("scancel", jobs[2])
    stop_on(4, node="n2")
    cluster.stop_node("n2")
    release(jobs[5])
    said = line.end()
    cluster.start_node("n2")
    assert said.code == 1, said
    assert set(folder.results) == {"tiny/dense", cell_name(5)}
    expected = {0: "failed", 1: "FAILED", 2: "CANCELLED", 3: "TIMEOUT", 4: "NODE_FAIL"}
    for seed, state in expected.items():
        assert f"{cell_name(seed)} {state} (job {jobs[seed]}): " in said.err, (seed, said.err)
        assert folder.statuses[cells[cell_name(seed)]]["state"] == "failed"
    assert "is damaged" in said.err and "Killed" in said.err and "see " in said.err
    states = dict(
        row.split("|") for row in cluster.run("sacct", "-X", "-n", "-P", "-o", "JobID,State", "-j", root).splitlines()
    )
    assert states[jobs[0]] == "FAILED" and states[jobs[5]] == "COMPLETED"
    log = folder.cell(cells[cell_name(0)]) / "run.log"
    assert "Traceback" in log.read_text() and "is damaged" in log.read_text()

    shutil.rmtree(broken)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("outputs/cells/*/result.json")}
    again = folder.run(*GRID)
    assert again.code == 0, again.err
    assert "2 of 7 cells are finished already" in again.out and "Submitted 5 jobs for 5 cells" in again.out
    assert len(folder.results) == 7
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.slow
def test_a_pending_element_that_is_cancelled_is_found(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    line = folder.start(
        "-m", "method=random", "calib.seed=0,1,2", *BARE, *SLURM, "launcher.additional_parameters={hold: true}"
    )
    line.wait_until(lambda: len(list(tmp_path.glob("outputs/cells/*/job.json"))) == 4, "four submitted jobs")
    cells = folder.grid()
    victim = folder.job_of(cells["tiny/random/50%/s1"]) or ""
    root = victim.partition("_")[0]
    cluster.run("scancel", victim)
    line.wait_until(lambda: folder.statuses.get(cells["tiny/random/50%/s1"], {}).get("state") == "failed", "its status")
    assert set(cluster.job_states(root).values()) <= {"PENDING", "CANCELLED"} and folder.results == {}  # the others wait
    cluster.run("scontrol", "release", root)
    said = line.end()
    assert said.code == 1 and f"(job {victim}): " in said.err and "Traceback" not in said.err
    assert len(folder.results) == 3
    none = folder.run("-m", "method=random", "calib.seed=0,1,2", *BARE, *SLURM, "launcher.retry=none")
    assert none.code == 1 and "Submitted" not in none.out and f"(job {victim}): " in none.err
    again = folder.run("-m", "method=random", "calib.seed=0,1,2", *BARE, *SLURM)
    assert again.code == 0 and "Submitted 1 job for 1 cell:" in again.out


LONG = [
    *("method=dense", "eval.tasks=[gsm8k,esnli,svamp,rte]", "eval.limit=200", "eval.perplexity=[wikitext2,c4]"),
    *("eval.num_chunks=2", "eval.batch_size=1", "tracker=none"),
]
"""A cell of six scores, of which the first two are there long before the last."""


def test_a_time_limit_while_the_model_is_loaded_is_told_as_one(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    line = folder.start(*LONG, *SLURM[:-1], "launcher.timeout_min=5", "launcher.max_num_timeout=0")
    line.wait_until(lambda: "running" in {status["state"] for status in folder.statuses.values()}, "the cell to begin")
    ((cell_id, _),) = folder.statuses.items()
    cluster.run("scancel", "--signal=USR2", folder.job_of(cell_id) or "")  # as at the end of five minutes
    said = line.end()
    assert said.code == 1 and f"TIMEOUT (job {folder.job_of(cell_id)}): it reached its time limit" in said.err, said


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The scores of LONG, run here to its end."""
    folder = Folder(tmp_path_factory.mktemp("undisturbed"))
    assert folder.run(*LONG).code == 0
    (result,) = folder.results.values()
    return {name: metric["value"] for name, metric in result["metrics"].items()}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["preempted", "requeued"])
def test_a_job_that_comes_back_goes_on_where_it_was(
    cluster: Cluster, tmp_path: Path, how: str, undisturbed: dict[str, Any]
) -> None:
    folder = Folder(tmp_path)
    running = folder.start(*LONG, *SLURM)
    running.wait_until(lambda: bool(list(tmp_path.glob("outputs/cells/*/scores/ppl-c4-*.json"))), "the second score")
    (cell_id,) = folder.statuses
    job, pid = folder.job_of(cell_id) or "", folder.statuses[cell_id]["pid"]
    os.kill(pid, signal.SIGSTOP)  # it cannot end before the signal or the requeue reaches it
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("outputs/cells/*/scores/*.json")}
    assert len(kept) < 6
    if how == "preempted":
        cluster.run("scancel", "--signal=USR2", job)
    else:
        cluster.run("scontrol", "requeue", job)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    said = running.end()
    assert said.code == 0, said.err
    assert kept == {path: path.stat().st_mtime_ns for path in kept} and len(kept) >= 2
    log = (folder.cell(cell_id) / "run.log").read_text()
    assert log.count(f"cell {cell_id} ") == 2 and log.count("ppl/wikitext2 = ") == 1
    (one,) = folder.results.values()
    assert {name: metric["value"] for name, metric in one["metrics"].items()} == undisturbed
    assert one["provenance"]["job_id"] == job


@pytest.mark.slow
def test_a_line_with_a_failed_cell_ends_with_1_and_keeps_the_others(cluster: Cluster, tmp_path: Path) -> None:
    too_large(tmp_path / "large")
    folder = Folder(tmp_path)
    said = folder.run(*TOO_LARGE, f"model.path={tmp_path / 'large'}", *SLURM, "launcher.cells_per_job=3")
    (failed,) = (cell for cell, status in folder.statuses.items() if status["state"] == "failed")
    assert said.code == 1 and f"failed (job {folder.job_of(failed)}): " in said.err and OVERFLOWS in said.err, said
    assert set(folder.results) == {"large/dense", "large/magnitude/50%"}
    states = cluster.run("sacct", "-X", "-n", "-P", "-o", "State", "-j", folder.job_of(failed) or "").split()
    assert states == ["FAILED"]


@pytest.mark.slow
def test_a_job_runs_the_configuration_of_its_submission(cluster: Cluster, tmp_path: Path) -> None:
    checkout, work = tmp_path / "checkout", tmp_path / "work"
    work.mkdir()
    root = Path(__file__).resolve().parents[2]
    for name in ("prune", "hydra_plugins", "conf"):
        shutil.copytree(root / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(checkout / "conf/local", ignore_errors=True)  # what the developer of this checkout has set
    (checkout / ".gitignore").write_text("__pycache__/\n")
    git = ["git", "-C", str(checkout), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=start"]):
        cluster.run(*git, *command)
    folder = Folder(work, {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"})
    line = folder.start("method=magnitude", *BARE, *SLURM, "launcher.additional_parameters={hold: true}")
    line.wait_until(lambda: len(list(work.glob("outputs/cells/*/job.json"))) == 2, "two submitted jobs")
    yaml = checkout / "conf/sparsity/unstructured.yaml"
    yaml.write_text(yaml.read_text() + "ratio: 0.25\n")
    (checkout / "conf/method/magnitude.yaml").unlink()
    cluster.run("scontrol", "release", (folder.job_of(folder.grid()["dense"]) or "").partition("_")[0])
    said = line.end()
    assert said.code == 0, said.err
    result = folder.results["tiny/magnitude/50%"]
    assert result["sparsity"]["asked"] == result["sparsity"]["reached"] == 0.5
    assert any("The code changed between submission" in warning for warning in result["warnings"])
    assert result["provenance"]["submitted"]["dirty"] is False and result["provenance"]["dirty"] is True


@pytest.mark.slow
def test_a_controller_that_is_down(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    line = ["method=random", *QUICK, *SLURM]
    cluster.stop_controller()
    refused = folder.run(*line)
    cluster.start_controller()
    assert refused.code == 2 and "Slurm does not answer" in refused.err and "Traceback" not in refused.err
    assert cluster.run("squeue", "-h").strip() == "" and not list(tmp_path.glob("outputs/cells/*"))
    running = folder.start(*line)
    running.wait_until(lambda: any(status["state"] == "running" for status in folder.statuses.values()), "a running cell")
    cluster.stop_controller()
    running.wait_until_said("Slurm does not answer")
    cluster.start_controller()
    said = running.end()
    assert said.code == 0, said.err
    assert "Slurm does not answer" in said.out and "Slurm answers again" in said.out
    assert len(folder.results) == 2


@pytest.mark.slow
def test_without_accounting_a_killed_job_is_found(start_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster = start_cluster(accounting=False, cpus=4, min_job_age_s=2)
    folder = Folder(tmp_path)
    line = folder.start("-m", "method=random", "calib.seed=0,1", *QUICK, *SLURM, "launcher.array_parallelism=2")
    line.wait_until(lambda: len(list(tmp_path.glob("outputs/cells/*/job.json"))) == 3, "three submitted jobs")
    cells = folder.grid()
    waiting = folder.job_of(cells["tiny/random/50%/s1"]) or ""
    cluster.run("scancel", waiting)
    kill(int(folder.wait_for_status(cells["tiny/random/50%/s0"], "running")["pid"]), signal.SIGKILL)
    said = line.end()
    assert said.code == 1 and len(folder.results) == 1
    assert f"tiny/random/50%/s0 FAILED (job {folder.job_of(cells['tiny/random/50%/s0'])}): " in said.err
    assert f"(job {waiting}): " in said.err
    assert folder.run("-m", "method=random", "calib.seed=0,1", *QUICK, *SLURM).code == 0


@pytest.mark.slow
def test_files_that_cannot_be_read_are_failures_of_their_cells(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    line = ["-m", "method=random", "calib.seed=0,1,2", *BARE, *SLURM]
    running = folder.start(*line, "launcher.additional_parameters={hold: true}")
    running.wait_until(lambda: len(list(tmp_path.glob("outputs/cells/*/job.json"))) == 4, "four submitted jobs")
    cells = {name: folder.cell(cell_id) for name, cell_id in folder.grid().items()}
    jobs = {name: folder.job_of(cell.name) or "" for name, cell in cells.items()}
    (pickle,) = tmp_path.glob(f"outputs/sweeps/*/jobs/{jobs['tiny/random/50%/s0']}_submitted.pkl")
    pickle.write_bytes(b"not a pickle")
    (cells["tiny/random/50%/s1"] / "result.json").write_text("{")
    cluster.run("scontrol", "release", jobs["dense"].partition("_")[0])
    said = running.end()
    assert said.code == 1 and "Traceback" not in said.err, said.err
    assert f"tiny/random/50%/s0 FAILED (job {jobs['tiny/random/50%/s0']}): last words: " in said.err
    assert "result.json was damaged" in (cells["tiny/random/50%/s1"] / "run.log").read_text(), "and made anew"
    assert {"tiny/random/50%/s1", "tiny/random/50%/s2"} <= set(folder.results)


def check_refused(said: Said, *words: str) -> None:
    assert said.code == 2, said
    assert all(word in said.err for word in words), said.err
    assert "Traceback" not in said.err


@pytest.mark.slow
def test_what_the_site_refuses_is_said_in_its_words(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    line = ["-m", "method=random", "calib.seed=0,1", *BARE, *SLURM]
    check_refused(folder.run(*line, "launcher.partition=nope"), "invalid partition specified: nope", "Nothing was submitted")
    check_refused(folder.run(*line, "launcher.account=nope"), "Invalid account", "Nothing was submitted")
    check_refused(folder.run(*line, "launcher.gpus_per_node=9"), "Requested node configuration is not available")
    check_refused(folder.run(*line, "launcher.partiton=main"), "launcher.partiton", "launcher.partition")
    check_refused(folder.run(*line, "launcher.timeout_min=0"), "launcher.timeout_min=0")
    assert cluster.run("squeue", "-h").strip() == "" and folder.statuses == {}


@pytest.mark.slow
def test_a_limit_on_submitted_jobs_and_one_that_lets_nothing_run(
    start_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = start_cluster(enforce_accounts=True, max_array_size=3, cpus=4)
    limit = ("sacctmgr", "--immediate", "modify", "account", "lab", "set")
    cluster.run(*limit, "MaxSubmitJobs=3")
    folder = Folder(tmp_path)
    line = ["-m", "method=random", "calib.seed=0,1,2,3", *BARE, *SLURM]
    said = folder.run(*line)  # five cells
    assert said.code == 0 and "Submitted 3 jobs for 3 cells" in said.out and len(folder.results) == 5, said
    assert "2 cells are not submitted yet: the site takes no more jobs at a time" in said.out
    left = [*line, "launcher.wait=false", "launcher.additional_parameters={hold: true}"]
    hold = Folder(tmp_path / "hold")
    hold.path.mkdir()
    assert "2 cells are not submitted yet" in hold.run(*left).out
    check_refused(folder.run(*line, "method=magnitude"), "AssocMaxSubmitJobLimit", "launcher.cells_per_job=4")
    cluster.run("scancel", "--user=root")
    cluster.run(*limit, "MaxSubmitJobs=-1")
    cluster.run(*limit, "MaxJobs=0")
    stuck = Folder(tmp_path, program=IMPATIENT).run("method=random", "calib.seed=9", *BARE, *SLURM)
    assert stuck.code == 1 and "PENDING (job " in stuck.err and "AssocMaxJobsLimit" in stuck.err, stuck


@pytest.mark.slow
def test_a_job_that_cannot_start_is_not_waited_for(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    line = ["-m", "method=random", "calib.seed=0", *BARE, *SLURM, "launcher.partition=small"]
    said = Folder(tmp_path, program=IMPATIENT).run(*line, "launcher.timeout_min=600")
    assert said.code == 1 and said.err.count("PENDING (job ") == 2 and "PartitionTimeLimit" in said.err, said.err
    assert len(cluster.run("squeue", "-h", "-r").splitlines()) == 2
    again = folder.run(*line, "launcher.timeout_min=5")
    assert again.code == 0, again.err
    assert "Submitted 2 jobs" in again.out and cluster.run("squeue", "-h", "-t", "PD").strip() == ""


@pytest.mark.slow
def test_outputs_that_a_node_does_not_see(cluster: Cluster) -> None:
    blind = cluster.options.blind_folder
    assert blind is not None
    folder = Folder(blind)
    said = folder.run("method=random", *BARE, *SLURM, "launcher.partition=blind")
    check_refused(said, "could not write", "output_dir", "blind")
    assert folder.run("method=random", *BARE, *SLURM).code == 0
