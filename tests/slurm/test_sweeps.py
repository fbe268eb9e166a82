"""Whole sweeps on the private Slurm with the real launcher and the embedded model."""

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.lines import BARE, HANGS_S, QUICK, SLURM, Folder, Said

README = ["-m", "calib=gsm8k,c4", "prompt=icl,cot"]
SMALL = [
    "calib.num_samples=8",
    "eval.tasks=[gsm8k,esnli]",
    "eval.limit=4",
    "eval.num_chunks=2",
    "eval.perplexity=[wikitext2]",
]


def numbers(folder: Folder) -> dict[str, tuple[str, str, dict[str, float]]]:
    """Cell name -> (id, hash of the weights, scores)."""
    return {
        name: (
            result["cell"],
            result["weights_sha256"],
            {metric: entry["value"] for metric, entry in result["metrics"].items()},
        )
        for name, result in folder.results.items()
    }


@pytest.fixture(scope="module")
def readme_line(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, Said]:
    folder = Folder(tmp_path_factory.mktemp("readme"))
    return folder, folder.run(*README, *SMALL, *SLURM)


@pytest.mark.slow
def test_the_readme_line_gives_what_a_local_run_gives(
    readme_line: tuple[Folder, Said], cluster: Cluster, tmp_path: Path
) -> None:
    folder, said = readme_line
    assert said.code == 0, said.err
    here = Folder(tmp_path)
    alone, work = here.count(*README, *SMALL, "tracker=none")
    assert alone.code == 0 and work.torch, alone.err
    assert len(folder.results) == 4 and numbers(folder) == numbers(here)
    roots = {(folder.job_of(cell_id) or "").partition("_")[0] for cell_id in folder.statuses}
    accounted = cluster.run("sacct", "-X", "-n", "-P", "-o", "State", "-j", ",".join(roots)).split()
    assert accounted == ["COMPLETED"] * 4
    assert {status["state"] for status in folder.statuses.values()} == {"done"}
    for cell_id, status in folder.statuses.items():
        assert status["job_id"] == folder.job_of(cell_id)
        result = json.loads((folder.cell(cell_id) / "result.json").read_text())
        assert result["provenance"]["job_id"] == status["job_id"]
        assert result["provenance"]["submitted"]["git"] == result["provenance"]["git"]
        assert not any("code changed" in warning for warning in result["warnings"])


@pytest.mark.slow
def test_the_screen_shows_the_jobs_and_ends_with_the_table(readme_line: tuple[Folder, Said]) -> None:
    said = readme_line[1]
    assert "Submitted 4 jobs for 4 cells: " in said.out and "pending 4   running 0   done 0   failed 0" in said.out
    assert "4 grid points, 3 distinct pruned cells" in said.out
    assert "W&B runs kept offline: 4. Send them with: wandb sync " in said.out
    assert len(list((readme_line[0].path / "outputs/wandb").glob("offline-run-*"))) == 4


@pytest.mark.slow
def test_the_same_line_again_submits_nothing_and_needs_no_torch(readme_line: tuple[Folder, Said], cluster: Cluster) -> None:
    folder = readme_line[0]
    before = cluster.run("sacct", "-X", "-n", "-P", "-o", "JobID", "-S", "2020-01-01").split()
    said, work = folder.count(*README, *SMALL, *SLURM)
    assert said.code == 0, said.err
    assert "4 of 4 cells are finished already" in said.out and not work.torch
    assert before == cluster.run("sacct", "-X", "-n", "-P", "-o", "JobID", "-S", "2020-01-01").split()


@pytest.mark.slow
def test_status_of_a_finished_sweep(readme_line: tuple[Folder, Said]) -> None:
    line = [sys.executable, "-m", "prune.status", "--all"]
    done = subprocess.run(line, cwd=readme_line[0].path, capture_output=True, text=True, timeout=HANGS_S, check=True)
    assert "4 cells   done 4   running 0   pending 0   failed 0   to do 0" in done.stdout
    assert "tiny/gsm8k-icl/wanda/50%/s0" in done.stdout


@pytest.mark.slow
def test_two_launches_of_one_grid_compute_each_cell_once(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    line = ["-m", "method=random", "calib.seed=0,1", *QUICK, *SLURM]
    lines = [folder.start(*line), folder.start(*line)]
    said = [line.end() for line in lines]
    assert [one.code for one in said] == [0, 0], said
    assert len(folder.results) == 3
    for cell_id in folder.statuses:
        assert (folder.cell(cell_id) / "run.log").read_text().count(f"cell {cell_id} ") == 1
    assert sorted("Submitted" in one.out for one in said) == [False, True]
    assert sum("In the queue already: 3 cells." in one.out for one in said) == 1


@pytest.mark.slow
def test_a_mixture_is_on_slurm_what_it_is_here(cluster: Cluster, tmp_path: Path) -> None:
    line = ["-m", "calib=mix", "calib.parts={c4: 2, gsm8k: 1, svamp: 1}", "calib.num_samples=4", "calib.seq_len=64", *BARE]
    folder, here = Folder(tmp_path / "slurm"), Folder(tmp_path / "here")
    for each in (folder, here):
        each.path.mkdir()
    said, alone = folder.run(*line, *SLURM), here.run(*line)
    assert said.code == 0 and alone.code == 0, said.err + alone.err
    assert numbers(folder) == numbers(here) and len(folder.results) == 2
    (name,) = (name for name in folder.results if "dense" not in name)
    assert name == "tiny/c4+gsm8k+svamp-icl/wanda/50%/s0"


@pytest.mark.slow
def test_ctrl_c_leaves_the_jobs_and_the_same_line_follows_them(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    line = ["method=random", *QUICK, *SLURM]
    running = folder.start(*line)
    running.wait_until(lambda: len(list(tmp_path.glob("outputs/cells/*/job.json"))) == 2, "two submitted jobs")
    said = running.interrupt()
    assert said.code == 130 and "the jobs go on" in said.err and "scancel" in said.err and "Traceback" not in said.err
    again = folder.run(*line)
    assert again.code == 0, again.err
    assert "Submitted" not in again.out and len(folder.results) == 2


@pytest.mark.slow
def test_without_waiting(cluster: Cluster, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    line = ["method=random", *QUICK, *SLURM]
    said = folder.run(*line, "launcher.wait=false", "launcher.additional_parameters={hold: true}")
    assert said.code == 0 and folder.results == {}, said  # it left before a job could begin
    assert "Submitted 2 jobs" in said.out and "prune.status outputs --watch" in said.out and "scancel" in said.out
    jobs = {(folder.job_of(path.parent.name) or "").partition("_")[0] for path in tmp_path.glob("outputs/cells/*/job.json")}
    cluster.run("scontrol", "release", *sorted(jobs))
    watch = subprocess.run(
        [sys.executable, "-m", "prune.status", "--watch"],
        cwd=tmp_path, capture_output=True, text=True, timeout=HANGS_S, check=True,
    )  # fmt: skip
    assert "2 cells   done 2" in watch.stdout
    assert len(folder.results) == 2


@pytest.mark.slow
def test_several_cells_share_a_job_and_arrays_are_cut(start_cluster, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    start_cluster(max_array_size=3, cpus=4)
    folder = Folder(tmp_path)
    seeds = ",".join(map(str, range(11)))
    keys = ["launcher.cells_per_job=2", "launcher.array_parallelism=2"]
    said = folder.run("-m", "method=random", f"calib.seed={seeds}", *BARE, *SLURM, *keys)
    assert said.code == 0, said.err
    assert re.search(r"Submitted 6 jobs for 12 cells: \d+_\[0-2\], \d+_\[0-2\]\.", said.out), said.out
    jobs: dict[str, list[tuple[datetime, datetime]]] = {}
    for result in folder.results.values():
        source = result["provenance"]
        span = datetime.fromisoformat(source["started"]), datetime.fromisoformat(source["finished"])
        jobs.setdefault(source["job_id"], []).append(span)
    assert len(folder.results) == 12 and all(len(spans) == 2 for spans in jobs.values())
    spans = [(min(begin for begin, _ in job), max(end for _, end in job)) for job in jobs.values()]
    assert max(sum(begin <= at < end for begin, end in spans) for at, _ in spans) <= 2


@pytest.mark.slow
def test_many_cells(cluster: Cluster, tmp_path: Path) -> None:
    """Each cell prunes the embedded model at random and is scored on nothing: the least work that a real cell can be."""
    folder = Folder(tmp_path)
    plan, line = (["-m", "method=random", f"calib.seed={','.join(map(str, range(number)))}", *BARE] for number in (999, 99))
    line += [*SLURM, "launcher.cells_per_job=25"]
    planned, work = folder.count(*plan, "launcher=plan", "launcher.tflops=1")
    assert "999 grid points, 999 distinct pruned cells, 1 dense." in planned.out and work.processes <= NUM_COMMANDS
    assert max(work.opened.values(), default=0) <= 1 and not work.torch
    said = folder.run(*line, timeout_s=1800)
    assert said.code == 0, said.err
    assert "Submitted 4 jobs for 100 cells" in said.out and len(folder.results) == 100
    assert len({result["weights_sha256"] for result in folder.results.values()}) == 100
    again, work = folder.count(*line)
    assert again.code == 0 and "100 of 100 cells are finished already" in again.out
    reads = Counter(number for path, number in work.opened.items() if path.endswith("/result.json"))
    assert sum(reads.values()) == 100 and max(reads) <= 3, reads
    assert work.processes <= NUM_COMMANDS and not work.torch, work.processes


NUM_COMMANDS = 8
"""So many commands (git, uname, ...) may a line start that has nothing to run, however many cells it has."""


@pytest.mark.slow
def test_hydras_submitit_launcher_goes_on_working(cluster: Cluster, tmp_path: Path) -> None:
    keys = ["timeout_min=10", "mem_gb=1", "cpus_per_task=1", "account=lab"]
    folder = Folder(tmp_path)
    line = ["hydra/launcher=submitit_slurm", *(f"hydra.launcher.{key}" for key in keys)]
    said = folder.run("-m", "method=random,magnitude", *BARE, *line)
    assert said.code == 0, said.err
    assert set(folder.results) == {"tiny/dense", "tiny/random/50%/s0", "tiny/magnitude/50%"}


@pytest.mark.slow
def test_from_inside_another_job(cluster: Cluster, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "prune.main", "method=random", *QUICK, *SLURM, "launcher.cpus_per_task=2"]
    cluster.run("srun", "--account=lab", "--gpus-per-node=2", "--mem=1G", f"--chdir={tmp_path}", *line, timeout_s=HANGS_S)
    results = Folder(tmp_path).results
    assert len(results) == 2
    assert all(result["provenance"]["job_id"] for result in results.values())


@pytest.mark.slow
def test_from_a_shell_that_a_job_left_its_variables_in(cluster: Cluster, tmp_path: Path) -> None:
    left = {"SLURM_MEM_PER_CPU": "1", "SLURM_MEM_PER_NODE": "2", "SLURM_CPU_BIND": "quiet,mask_cpu:0x1", "SLURM_NTASKS": "9"}
    folder = Folder(tmp_path, left | {"SBATCH_TIMELIMIT": "1"})
    said = folder.run("method=random", *BARE, *SLURM)
    assert said.code == 0 and len(folder.results) == 2, said
    assert (
        said.err
        == "prune: These variables have no effect, because the launcher's keys or their defaults set the same options: "
        + ("SBATCH_TIMELIMIT=1 (launcher.timeout_min).\n")
    )


WAYS = [
    (["launcher.mem_per_cpu=100M", "launcher.cpus_per_task=1"], "MinMemoryCPU=100M"),
    (["launcher.mem_per_gpu=100M", "launcher.cpus_per_task=1"], "MemPerTres=gres:gpu:100"),
    (["launcher.cpus_per_gpu=2", "launcher.mem_gb=1"], "MinMemoryNode=1G"),
]


@pytest.mark.parametrize(("keys", "words"), WAYS, ids=lambda value: str(value)[:24])
def test_what_is_asked_in_other_words_is_taken(cluster: Cluster, tmp_path: Path, keys: list[str], words: str) -> None:
    folder = Folder(tmp_path)
    line = [
        "method=dense",
        *BARE,
        "launcher=slurm",
        "launcher.account=lab",
        "launcher.timeout_min=60",
        "launcher.wait=false",
    ]
    said = folder.run(*line, *keys, "launcher.additional_parameters={hold: true}")
    assert said.code == 0 and "Submitted 1 job for 1 cell:" in said.out and said.err == "", said
    (path,) = tmp_path.glob("outputs/cells/*/job.json")
    assert words in cluster.run("scontrol", "show", "job", str(folder.job_of(path.parent.name)))
