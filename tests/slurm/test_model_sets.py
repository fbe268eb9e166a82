"""Calibration sets that the dense model makes, on a cluster: one job makes a set, and the cells wait for it."""

import json
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.lines import QUICK, SLURM, Folder

GENERATED = [*QUICK, "calib.seq_len=48", "calib.max_new_tokens=60"]


def set_jobs(folder: Path) -> dict[str, str]:
    """Calibration set -> the job that was submitted to make it."""
    found = {path.parent.name: path for path in folder.glob("outputs/calib/making/*/job.json")}
    return {set_id: json.loads(path.read_text())["job_id"] for set_id, path in found.items()}


@pytest.mark.slow
def test_one_job_makes_the_set_and_its_cells_begin_after_it(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    said = folder.run("-m", "calib=c4,generated", "method=wanda,ria", *GENERATED, *SLURM)
    assert said.code == 0, said.err
    ((set_id, making),) = set_jobs(tmp_path).items()
    assert f"job for calibration sets that the model makes, which cells wait for: {making}." in said.out
    status = json.loads((tmp_path / "outputs/calib/making" / set_id / "status.json").read_text())
    assert (status["state"], status["job_id"]) == ("done", making)
    generated = {name: result for name, result in folder.results.items() if "generated" in name}
    assert len(folder.results) == 5 and len(generated) == 2
    assert {result["calib"]["id"] for result in generated.values()} == {set_id}
    for result in generated.values():
        log = (folder.cell(result["cell"]) / "run.log").read_text()
        assert "the model makes it" not in log
        assert result["provenance"]["started"] >= status["since"]
    fields = "JobID,Start,End"
    rows = cluster.run("sacct", "-X", "-n", "-P", "-o", fields).splitlines()
    times = {row.split("|")[0]: row.split("|")[1:] for row in rows}
    ended = times[making][1]
    assert all(times[folder.job_of(result["cell"]) or ""][0] >= ended for result in generated.values())


@pytest.mark.slow
def test_cells_of_a_set_that_fails_fail_for_its_reason_and_the_rest_runs(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    grid = ["-m", "calib=generated", "calib.prefix_tokens=2,5000", "method=wanda,ria", *GENERATED, *SLURM]
    said = folder.run(*grid)
    assert said.code == 1, said
    assert len(set_jobs(tmp_path)) == 2 and len(folder.results) == 3  # dense, and two of the set that was made
    states = {status["state"]: status["error"] for status in folder.statuses.values()}
    assert set(states) == {"done", "failed"}
    assert "no text of calib.source=wikitext2 has calib.prefix_tokens=5000 tokens" in states["failed"]
    assert said.err.count("no text of calib.source=wikitext2 has calib.prefix_tokens=5000 tokens") == 2
    assert not cluster.run("squeue", "-h").strip(), "nothing stays in the queue"


@pytest.mark.slow
def test_a_set_whose_job_is_cancelled_fails_its_cells_and_the_same_line_makes_it(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    grid = ["-m", "calib=generated", "method=wanda,ria", *GENERATED, *SLURM]
    held = folder.run(*grid, "launcher.wait=false", "launcher.additional_parameters={hold: true}")
    assert held.code == 0, held.err
    ((set_id, making),) = set_jobs(tmp_path).items()
    jobs = {job for cell in folder.grid().values() if (job := folder.job_of(cell))}
    cluster.run("scancel", making)
    cluster.run("scontrol", "release", *sorted(jobs))
    failed = folder.run(*grid)
    assert failed.code == 1, failed
    assert f"job {making} should have made it and left none" in failed.err and len(folder.results) == 1
    again = folder.run(*grid)
    assert again.code == 0, again.err
    assert set_jobs(tmp_path)[set_id] != making and len(folder.results) == 3
