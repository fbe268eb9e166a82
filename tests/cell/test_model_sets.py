"""Calibration sets that the dense model makes: one process makes a set, whoever else needs it waits."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from prune.calib import store
from prune.cell.cell import Cell, make_cell
from prune.cell.lock import claim
from prune.cell.model_sets import SetNotMadeError, calibration_set, is_stored, making_folder
from prune.cell.resources import Resources
from prune.cell.standing import write_submission
from prune.cell.state import State, read_status, write_status
from prune.cell.watcher import WAITS
from prune.config.config import Config
from prune.errors import UserError
from tests.conftest import HANGS_S, Compose, Said

LINE = ["calib=generated", "calib.num_samples=2", "calib.seq_len=48", "calib.max_new_tokens=60", "model.seq_len=64"]
LINE += ["tracker=none", "device=cpu", "eval.perplexity=[]", "eval.tasks=[]"]

PROGRAM = """
import json, os, signal, sys
from hydra import compose, initialize_config_dir
from prune.cell.cell import make_cell
from prune.cell.model_sets import calibration_set
from prune.cell.resources import Resources
from prune.config.folders import CONFIG_DIR
from prune.sweep.schemas import register_schemas
from prune.sweep.compose import to_config

folder, end, *overrides = sys.argv[1:]
register_schemas()
with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
    cell = make_cell(to_config(compose("config", overrides=[*overrides, f"output_dir={folder}/outputs"])))
stages = []

class Watcher:
    def stage(self, name):
        stages.append(name)
        print(json.dumps({"stage": name}), flush=True)

    def advance(self, done, total):
        if end != "made" and done > 20:
            sys.stdin.readline()
            if end == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("the GPU fell off")

print(json.dumps({"stage": "ready"}), flush=True)
sys.stdin.readline()
try:
    made = calibration_set(cell, cell.recipe, Resources(), Watcher())
    print(json.dumps({"made": made.manifest["tokens_sha256"], "stages": stages}), flush=True)
except Exception as error:
    print(json.dumps({"failed": f"{type(error).__name__}: {error}", "stages": stages}), flush=True)
"""
BUILDS = "calib by the model"


class Silent:
    """A watcher that says nothing."""

    def stage(self, name: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass


class Process:
    """A process that needs the set; it begins at a word of ours."""

    def __init__(self, folder: Path, end: str) -> None:
        command = [sys.executable, "-c", PROGRAM, str(folder), end, *LINE]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def go(self) -> None:
        """Let it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def wait_for(self, stage: str) -> None:
        """Return as soon as it has come to a stage whose name begins so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if json.loads(line).get("stage", "").startswith(stage):
                return
        raise AssertionError(f"it never came to {stage}")

    def end(self) -> dict[str, Any]:
        """What it said last."""
        said, _ = self.process.communicate(timeout=HANGS_S)
        lines = [json.loads(line) for line in said.splitlines()]
        return lines[-1] if lines else {}


def cell_of(compose_config: Compose, folder: Path, *overrides: str) -> Cell:
    config: Config = compose_config(*LINE, *overrides)
    return make_cell(replace(config, output_dir=str(folder / "outputs")))


def build(cell: Cell, resources: Resources | None = None) -> Any:
    assert cell.recipe is not None
    return calibration_set(cell, cell.recipe, resources or Resources(), Silent())


def test_a_set_that_lies_without_its_tokens_is_written_again_by_the_model(compose_config: Compose, tmp_path: Path) -> None:
    cell = cell_of(compose_config, tmp_path)
    made = build(cell)
    tokens = tmp_path / "outputs/calib" / made.id / "tokens.safetensors"
    before = tokens.read_bytes()
    tokens.unlink()
    assert not is_stored(cell)
    assert torch.equal(build(cell).tokens_NL, made.tokens_NL)
    assert tokens.read_bytes() == before and is_stored(cell)


@pytest.mark.slow
def test_of_three_processes_one_makes_the_set_and_all_have_it(tmp_path: Path) -> None:
    processes = [Process(tmp_path, "made") for _ in range(3)]
    for process in processes:
        process.wait_for("ready")
    for process in processes:
        process.go()
    said = [process.end() for process in processes]
    assert len({each["made"] for each in said}) == 1
    assert sum(BUILDS in each["stages"] for each in said) == 1
    waited = [stage for each in said for stage in each["stages"] if stage.startswith(WAITS)]
    assert all("calibration set" in stage and "held by process" in stage for stage in waited)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["killed", "failed"])
def test_who_waits_takes_over_from_the_killed_and_fails_with_the_failed(
    tmp_path: Path, compose_config: Compose, end: str
) -> None:
    first, second = Process(tmp_path, end), Process(tmp_path, "made")
    first.wait_for("ready")
    second.wait_for("ready")
    first.go()
    first.wait_for(BUILDS)
    second.go()
    second.wait_for(WAITS)
    first.go()
    first.end()
    said, cell = second.end(), cell_of(compose_config, tmp_path)
    if end == "killed":
        assert first.process.returncode == -9
        assert BUILDS in said["stages"] and is_stored(cell)
        assert said["made"] == build(cell_of(compose_config, tmp_path / "alone")).manifest["tokens_sha256"]
    else:
        assert BUILDS not in said["stages"] and not is_stored(cell)
        assert said["failed"].startswith("SetNotMadeError: calibration set ")
        assert said["failed"].endswith("could not be made: RuntimeError: the GPU fell off")
        assert build(cell).id, "a later line tries again"


def test_a_set_is_made_once_and_then_only_read(
    tmp_path: Path, compose_config: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cell_of(compose_config, tmp_path)
    made = build(cell)
    status = read_status(making_folder(cell))
    assert status is not None and status["state"] == State.done.value
    monkeypatch.setattr(store, "build", lambda *arguments: pytest.fail("it is there"))
    assert build(cell).manifest == made.manifest


def test_what_failed_is_not_tried_again_by_the_same_process(
    tmp_path: Path, compose_config: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fail(*arguments: Any) -> None:
        calls.append(arguments)
        raise RuntimeError("broken")

    cell, resources = cell_of(compose_config, tmp_path), Resources()
    monkeypatch.setattr(store, "build", fail)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            build(cell, resources)
    assert len(calls) == 1
    with pytest.raises(RuntimeError, match="broken"):
        build(cell)  # another line
    assert len(calls) == 2


def test_the_part_of_a_mixture_that_the_model_makes_is_a_set_of_its_own_that_another_mixture_finds(
    tmp_path: Path, compose_config: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixtures = ["calib.parts={generated: 1, c4: 1}", "calib.parts={generated: 1, pile: 1}"]
    cells = [cell_of(compose_config, tmp_path, "calib=mix", parts) for parts in mixtures]
    written: list[str] = []
    build_one = store.build

    def count(recipe: Any, *arguments: Any) -> Any:
        written.append(recipe.calib.name)
        return build_one(recipe, *arguments)

    monkeypatch.setattr(store, "build", count)
    assert [build(cell).manifest["num_samples"] for cell in cells] == [2, 2]
    assert sorted(written) == ["c4", "generated", "pile"]
    states = [json.loads(path.read_text())["state"] for path in tmp_path.glob("outputs/calib/making/*/status.json")]
    assert states == ["done"] * 3, "two mixtures and the part"


def test_where_sets_are_made_elsewhere_a_missing_one_is_told_with_its_job(tmp_path: Path, compose_config: Compose) -> None:
    cell = cell_of(compose_config, tmp_path)
    folder = making_folder(cell)
    with pytest.raises(SetNotMadeError, match="no job was submitted to make it"):
        build(cell, Resources(makes_sets=False))
    log = tmp_path / "job.out"
    log.write_text("slurmstepd: Out Of Memory\n")
    write_submission(folder, "12", log, "s")
    with pytest.raises(SetNotMadeError, match=r"job 12 should have made it and left none; slurmstepd: Out Of Memory"):
        build(cell, Resources(makes_sets=False))
    write_status(folder, State.failed, "UserError: no rows")
    with pytest.raises(UserError, match="could not be made: no rows"):
        build(cell, Resources(makes_sets=False))
    with claim(folder):
        pass  # a claim that was given back holds nobody up
    build(cell)
    assert build(cell, Resources(makes_sets=False)).id, "what is stored is used"


def test_a_line_goes_on_without_the_cells_of_a_set_that_cannot_be_made(say: Any) -> None:
    points = ["calib.prefix_tokens=2,5000", "method=wanda,ria"]
    said: Said = say("-m", *LINE[:4], "tracker=none", "device=cpu", "eval.perplexity=[]", "eval.tasks=[]", *points)
    assert said.code == 1
    assert said.err.count("no text of calib.source=wikitext2 has calib.prefix_tokens=5000 tokens") == 2
    results = list(Path("outputs/cells").glob("*/result.json"))
    assert len(results) == 3, "dense, and two methods on the set that could be made"
    assert len(list(Path("outputs/calib").glob("*/manifest.json"))) == 1
