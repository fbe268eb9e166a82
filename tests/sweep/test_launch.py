"""Lines as a whole: what is run again, what is planned, who computes a cell that two lines ask for."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import prune.status
import prune.sweep.cell_launcher
from prune.cell.holder import this_process
from prune.cell.state import State, read_status, write_status
from prune.sweep.cell_launcher import replace_folder

from ..conftest import HANGS_S, Said
from ..warm import run_warm

Say = Callable[..., Said]
BARE = ["eval.tasks=[]", "eval.perplexity=[]", "tracker=none"]
GRID = ["-m", "method=random", "calib.seed=0,1", *BARE]


def results(folder: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in folder.glob("outputs/cells/*/result.json")]
    return {result["name"]: result for result in found}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the outputs of GRID lie after the first test that needs them."""
    return tmp_path_factory.mktemp("grid") / "outputs"


@pytest.fixture
def finish_grid(say: Say, kept: Path, tmp_path: Path) -> Callable[[], None]:
    """Leaves in tmp_path what GRID leaves there."""

    def finish() -> None:
        if not kept.exists():
            assert say(*GRID).code == 0
            shutil.copytree(tmp_path / "outputs", kept, symlinks=True)
        else:
            shutil.copytree(kept, tmp_path / "outputs", symlinks=True)

    return finish


def rows(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("outputs/sweeps/*/grid.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "prune.main", *arguments]
    return subprocess.Popen(line, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_plan_runs_nothing_and_says_how_long_it_may_take(say: Say, tmp_path: Path) -> None:
    said = say(*GRID, "launcher=plan", "launcher.tflops=0.05")
    assert said.code == 0, said.err
    assert "2 grid points, 2 distinct pruned cells, 1 dense." in said.out
    assert "done 0   running 0   pending 0   failed 0   to do 3   not applicable 0" in said.out
    assert "To do: 3 cells, about " in said.out and "Nothing was run" in said.out
    assert [row["state"] for row in rows(tmp_path)] == ["todo", "todo"]
    assert not (tmp_path / "outputs/cells").exists()


def test_a_plan_says_what_slurm_would_say_of_the_memory(say: Say, tmp_path: Path) -> None:
    words = "With launcher=slurm: A job asks for 0.00488 GB of memory, and the weights of model tiny alone take 2 x "
    asked = ["launcher.mem_gb=0.005", "launcher.gpus_per_node=0"]
    assert words in say(*GRID, "launcher=plan", *asked).out
    assert "A job asks" not in say(*GRID, "launcher=plan").out
    path = tmp_path / "mine/local/slurm.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("mem_gb: 0.005\ngpus_per_node: 0\n")
    assert words in say("--config-dir", str(tmp_path / "mine"), *GRID, "launcher=plan").out


def test_a_plan_estimates_from_finished_cells(say: Say, finish_grid: Callable[[], None], tmp_path: Path) -> None:
    finish_grid()
    said = say("-m", "method=random", "calib.seed=0,1,2,3", *BARE, "launcher=plan", "launcher.partition=gpu")
    assert "done 3   running 0   pending 0   failed 0   to do 2   not applicable 0" in said.out
    assert "To do: 2 cells, about " in said.out and "(without a GPU), going by 2 finished cells." in said.out
    said = say(*GRID, "launcher=plan")
    assert "Nothing is left to do." in said.out


def test_a_plan_lists_what_means_nothing_and_what_failed(say: Say, tmp_path: Path) -> None:
    said = say("-m", "calib=boolq,gsm8k", "prompt=cot", "calib.num_samples=2", *BARE, "launcher=plan")
    assert "not applicable 1" in said.out and "not applicable: calib=boolq prompt=cot: " in said.out
    cell = next(row["cell"] for row in rows(tmp_path) if row["cell"])
    folder = tmp_path / "outputs/cells" / cell
    folder.mkdir(parents=True)
    write_status(folder, State.failed, "ValueError: no")
    said = say("-m", "calib=boolq,gsm8k", "prompt=cot", "calib.num_samples=2", *BARE, "launcher=plan")
    assert "failed 1   to do 1" in said.out and "failed: ValueError: no" in said.out
    assert [row["state"] for row in rows(tmp_path)] == [None, "failed"]


def fail(folder: Path) -> None:
    (folder / "result.json").unlink()
    write_status(folder, State.failed, "ValueError: no")


def test_failed_cells_are_run_again_unless_told_otherwise(say: Say, finish_grid: Callable[[], None], tmp_path: Path) -> None:
    finish_grid()
    folder = tmp_path / "outputs/cells" / results(tmp_path)["tiny/random/50%/s1"]["cell"]
    fail(folder)
    left = say(*GRID, "launcher.retry=none")
    assert left.code == 1 and "tiny/random/50%/s1 failed: ValueError: no" in left.err
    assert (read_status(folder) or {})["state"] == "failed"
    again = say(*GRID)
    assert again.code == 0 and "2 of 3 cells are finished already" in again.out
    assert len(results(tmp_path)) == 3


def test_retry_all_runs_everything_anew_and_keeps_what_there_was(
    say: Say, finish_grid: Callable[[], None], tmp_path: Path
) -> None:
    finish_grid()
    before = results(tmp_path)
    said = say(*GRID, "launcher.retry=all")
    assert said.code == 0, said.err
    after = results(tmp_path)
    assert after.keys() == before.keys()
    for name, result in after.items():
        assert result["weights_sha256"] == before[name]["weights_sha256"]
        assert result["provenance"]["started"] >= before[name]["provenance"]["finished"]
    replaced = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/replaced/*/result.json")]
    assert {result["name"]: result for result in replaced} == before


@pytest.mark.parametrize("axis", ["launcher=plan,local", "tracker=none,wandb", "output_dir=a,b", "launcher.retry=none,all"])
def test_what_a_line_has_once_cannot_be_varied(say: Say, tmp_path: Path, axis: str) -> None:
    said = say("-m", axis, "method=random")
    assert said.code == 2 and f"{re.split('[.=]', axis, maxsplit=1)[0]} cannot take several values" in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "override",
    [
        *(
            "launcher.num_workers=0",
            "launcher.gpus=[0,0]",
            "launcher.gpus=[-1]",
            "launcher.retry=some",
            "launcher.partition=a",
        ),
        "launcher=cloud",
    ],
)
def test_bad_launcher_keys(say: Say, tmp_path: Path, override: str) -> None:
    said = say("-m", "method=random", override)
    assert said.code == 2 and override.partition("=")[0] in said.err and "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


def test_more_workers_than_gpus(say: Say) -> None:
    said = say("-m", "method=random", "launcher.num_workers=3", "launcher.gpus=[0,1]")
    assert said.code == 2 and "launcher.num_workers=3 is more than launcher.gpus=[0, 1]" in said.err


@pytest.mark.slow
def test_two_local_launches_compute_each_cell_once(tmp_path: Path) -> None:
    line = ["-m", "method=random", "calib.seed=0,1,2", *BARE, "eval.perplexity=[wikitext2]", "eval.num_chunks=4"]
    processes = [start(*line, cwd=tmp_path), start(*line, cwd=tmp_path)]
    ended = [(*process.communicate(timeout=HANGS_S), process.returncode) for process in processes]
    assert [code for *_, code in ended] == [0, 0], ended
    assert len(results(tmp_path)) == 4
    for result in results(tmp_path).values():
        log = tmp_path / "outputs/cells" / result["cell"] / "run.log"
        assert log.read_text().count(f"cell {result['cell']} ") == 1


@contextmanager
def holding(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that works on `folder`."""
    program = (
        "import pathlib, sys, time; from prune.cell.lock import claim\n"
        "with claim(pathlib.Path(sys.argv[1])):\n    print(1, flush=True); time.sleep(99)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "1\n"
        yield holder
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()


def test_a_cell_that_somebody_else_runs_is_left_to_them(say: Say, finish_grid: Callable[[], None], tmp_path: Path) -> None:
    finish_grid()
    folder = tmp_path / "outputs/cells" / results(tmp_path)["tiny/random/50%/s1"]["cell"]
    (folder / "result.json").unlink()
    with holding(folder) as holder:
        said = say(*GRID)
        assert said.code == 0 and f"held by process {holder.pid}" in said.out
        assert "Queued or running elsewhere: 1 cell;" in said.out
        assert "running 1" in say(*GRID, "launcher=plan").out
    assert say(*GRID).code == 0 and len(results(tmp_path)) == 3


def test_retry_all_leaves_the_cells_that_somebody_works_on(
    say: Say, finish_grid: Callable[[], None], tmp_path: Path
) -> None:
    finish_grid()
    before = results(tmp_path)
    name = "tiny/random/50%/s1"
    with holding(tmp_path / "outputs/cells" / before[name]["cell"]) as holder:
        said = say(*GRID, "launcher.retry=all")
    assert said.code == 0 and "Traceback" not in said.err
    assert f"{name} is not run again: held by process {holder.pid}" in said.out
    assert "Queued or running elsewhere: 1 cell;" in said.out
    after = results(tmp_path)
    assert after[name] == before[name]
    assert [key for key in after if after[key]["provenance"] != before[key]["provenance"]] == [
        key for key in after if key != name
    ]
    assert len(list(tmp_path.glob("outputs/replaced/*"))) == 2


def test_what_is_run_anew_twice_within_a_second_is_kept_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune.sweep.cell_launcher, "now", lambda: "12:00")
    for _ in range(3):
        (tmp_path / "a").mkdir()
        replace_folder(tmp_path / "a", tmp_path / "replaced")
    assert sorted(path.name for path in (tmp_path / "replaced").iterdir()) == ["a-1200", "a-1200-2", "a-1200-3"]


def test_a_finished_line_tidies_up_after_killed_processes(say: Say, finish_grid: Callable[[], None], tmp_path: Path) -> None:
    finish_grid()
    folder = tmp_path / "outputs/cells" / results(tmp_path)["tiny/random/50%/s1"]["cell"]
    dead = replace(this_process(), started="1")
    (folder / ".claim-7").write_text(json.dumps(asdict(dead)))
    draft = folder / f".status.json.{dead.tag}.0123abcd.draft"
    draft.write_text("{")
    assert say(*GRID, "launcher=plan").code == 0 and draft.exists(), "a question changes nothing"
    assert say(*GRID).code == 0
    assert not draft.exists() and (folder / ".claim-7").read_text() == ""


@pytest.mark.parametrize(("cell", "content"), [("tiny/dense", '{"half": '), ("tiny/random/50%/s1", "null")])
def test_a_damaged_result_is_made_anew_and_told(
    say: Say, finish_grid: Callable[[], None], tmp_path: Path, cell: str, content: str
) -> None:
    finish_grid()
    folders = {key: tmp_path / "outputs/cells" / result["cell"] for key, result in results(tmp_path).items()}
    (folders[cell] / "result.json").write_text(content)
    assert "damaged: result.json was damaged" in say(*GRID, "launcher=plan").out
    assert (folders[cell] / "result.json").read_text() == content, "a question changes nothing"
    assert say(*GRID).code == 0 and len(results(tmp_path)) == 3
    assert "result.json was damaged" in (folders[cell] / "run.log").read_text()


@pytest.mark.parametrize("content", ["{}", "[]", '{"pid": '])
def test_a_damaged_claim_costs_no_other_cell(
    say: Say, finish_grid: Callable[[], None], tmp_path: Path, content: str
) -> None:
    cell, name = "tiny/random/50%/s1", ".claim-9"
    finish_grid()
    folders = {key: tmp_path / "outputs/cells" / result["cell"] for key, result in results(tmp_path).items()}
    for key in ("tiny/random/50%/s0", cell):
        (folders[key] / "result.json").unlink()
    (folders[cell] / name).write_text(content)
    said = say(*GRID)
    assert said.code == 1 and "Traceback" not in said.err
    assert f"prune: {cell} damaged: " in said.err and f"{name} is damaged" in said.err and said.err.count("prune: ") == 1
    assert (folders["tiny/random/50%/s0"] / "result.json").exists()
    assert say(*GRID, "launcher=plan").code == 0
    (folders[cell] / name).unlink()
    assert say(*GRID).code == 0 and len(results(tmp_path)) == 3


@pytest.mark.parametrize("content", ["{}", '{"state": '])
def test_a_damaged_note_is_written_anew(say: Say, finish_grid: Callable[[], None], tmp_path: Path, content: str) -> None:
    finish_grid()
    folder = tmp_path / "outputs/cells" / results(tmp_path)["tiny/random/50%/s1"]["cell"]
    (folder / "result.json").unlink()
    for name in ("status.json", "job.json"):
        (folder / name).write_text(content)
    assert say(*GRID).code == 0
    assert (read_status(folder) or {})["state"] == "done"


def test_lines_of_one_name_are_one_sweep(say: Say, tmp_path: Path) -> None:
    for seeds in ("0,1", "1,2"):
        assert say("-m", "method=random", f"calib.seed={seeds}", *BARE, "sweep.name=mine").code == 0
    assert [row["name"] for row in rows(tmp_path)] == [f"tiny/random/50%/s{seed}" for seed in (0, 1, 2)]
    assert say("-m", "method=random", "calib.seed=0,1", *BARE, "sweep.name=mine", "launcher=plan").code == 0
    assert len(rows(tmp_path)) == 3


def test_a_sweep_that_asks_for_more_scores_is_to_do(say: Say, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["-m", "method=random", *BARE, "eval.perplexity=[wikitext2]", "eval.num_chunks=1"]
    assert say("-m", "method=random", *BARE).code == 0
    assert "to do 2" in say(*more, "launcher=plan").out
    prune.status.main([str(tmp_path / "outputs")])
    said = capsys.readouterr().out
    assert said.count("done 2") == 1 and said.count("to do 2") == 1
    assert say(*more).code == 0
    prune.status.main([str(tmp_path / "outputs")])
    assert capsys.readouterr().out.count("done 2") == 2


@pytest.mark.parametrize("launcher", ["basic", pytest.param("submitit_local", marks=pytest.mark.slow)])
def test_hydras_own_launchers_go_on_working(tmp_path: Path, launcher: str) -> None:
    line = ["-m", "method=random,magnitude", *BARE, f"hydra/launcher={launcher}"]
    done = run_warm("prune.main", line, tmp_path, os.environ, HANGS_S)
    assert done.returncode == 0, done
    assert set(results(tmp_path)) == {"tiny/dense", "tiny/random/50%/s0", "tiny/magnitude/50%"}


def test_a_failure_under_hydras_own_launcher_fails_the_line_and_the_rest_runs(tmp_path: Path) -> None:
    axes = ["sparsity=nm", "sparsity.n=1", "sparsity.m=7,4"]
    line = ["-m", "method=magnitude", *axes, *BARE, "hydra/launcher=basic"]
    done = run_warm("prune.main", line, tmp_path, os.environ, HANGS_S)
    assert done.returncode == 2 and "sparsity 1:7 does not fit block 0, mlp.down_proj" in done.stderr
    assert "tiny/magnitude/1:4" in results(tmp_path)
