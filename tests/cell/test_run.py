"""What one cell leaves after kills, later lines and damage: run in this process on the embedded model, no scores but one."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import prune.cell.lock
import prune.pruning.saved
from prune.cell.cell import Cell, make_cell
from prune.cell.resources import Resources
from prune.cell.run import CellRun, run_cell
from prune.cell.settle import finished, settle
from prune.cell.standing import find_standing
from prune.cell.state import State, read_status, write_status
from prune.config.config import Save
from prune.errors import OutOfMemoryError, UserError
from prune.files import disk_errors
from tests.conftest import Compose, Said

SMALL = [
    "calib=c4",
    "calib.num_samples=2",
    "calib.seq_len=64",
    "eval.perplexity=[]",
    "eval.tasks=[rte]",
    "eval.limit=2",
    "eval.num_fewshot=0",
]
SMALL += ["tracker=none", "device=cpu"]
Line = Callable[..., Cell]
KEPT = ("weights_sha256", "sparsity", "linears", "metrics")


class Watcher:
    """Counts the stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def advance(self, done: int, total: int) -> None:
        pass


@pytest.fixture(scope="module")
def resources() -> Resources:
    """One, so that the model is loaded once."""
    return Resources()


@pytest.fixture
def line(compose_config: Compose, tmp_path: Path) -> Line:
    def cell(*overrides: str) -> Cell:
        return make_cell(compose_config(*SMALL, f"output_dir={tmp_path}/outputs", "method=magnitude", *overrides))

    return cell


def stages(cell: Cell, resources: Resources) -> list[str]:
    watcher = Watcher()
    run_cell(cell, resources, watcher)
    return watcher.stages


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_question_writes_nothing_and_a_launch_shows_what_it_asks_for(line: Line, resources: Resources) -> None:
    long, short = line(), line("eval.limit=1")
    stages(long, resources)
    assert "prune" in stages(short, resources) and short.files.read_result()["metrics"]["acc/rte"]["num_items"] == 1
    before = contents(long.folder())
    standing = find_standing(long, {})
    assert standing.state is State.done and standing.result is not None
    assert standing.result["metrics"]["acc/rte"]["num_items"] == 2
    assert contents(long.folder()) == before
    settle(long, standing.result)
    shown = long.files.read_result()
    assert shown == standing.result and [one["metric"]["num_items"] for one in shown["earlier"]] == [1]
    settled = contents(long.folder())
    settle(long, standing.result)
    assert contents(long.folder()) == settled


def test_a_cell_that_was_killed_before_it_said_done_is_said_to_be_done(line: Line, resources: Resources) -> None:
    cell = line()
    result = run_cell(cell, resources, Watcher())
    write_status(cell.folder(), State.running)
    settle(cell, result)
    assert (read_status(cell.folder()) or {})["state"] == "done"
    (cell.folder() / "status.json").write_text("{")
    assert stages(cell, resources) == []
    assert (read_status(cell.folder()) or {})["state"] == "done"


@pytest.mark.parametrize(("save", "method"), [(Save.mask, "wanda"), (Save.model, "magnitude")])
def test_save_on_a_finished_cell_saves_the_same_weights(line: Line, resources: Resources, save: Save, method: str) -> None:
    first, again = line(f"method={method}"), line(f"method={method}", f"save={save.value}")
    before = run_cell(first, resources, Watcher())
    assert finished(again) is None and first.folder() == again.folder()
    watcher = Watcher()
    after = run_cell(again, resources, watcher)
    assert "acc/rte" not in watcher.stages, "the score is there"
    assert after["weights_sha256"] == before["weights_sha256"] and after["warnings"] == before["warnings"]
    assert stages(again, resources) == [] and stages(first, resources) == []
    other = Save.model if save is Save.mask else Save.mask
    both = line(f"method={method}", f"save={other.value}")
    assert run_cell(both, resources, Watcher())["weights_sha256"] == before["weights_sha256"]
    assert {"mask.safetensors", "model"} <= {path.name for path in first.folder().iterdir()}
    assert prune.pruning.saved.load_mask(first.folder() / "mask.safetensors").packed


def test_a_damaged_score_is_measured_again_and_said(line: Line, resources: Resources) -> None:
    cell = line()
    before = run_cell(cell, resources, Watcher())
    path = cell.files.score(cell.scores[0])
    path.write_text(path.read_text().replace('"value": ', '"value": 1'))
    standing = find_standing(cell, {})
    assert standing.failure is not None and standing.failure.state == "damaged" and path.name in standing.failure.reason
    after = run_cell(cell, resources, Watcher())
    assert after["metrics"] == before["metrics"] and after["earlier"] == []
    assert any(path.name in warning and "measured again" in warning for warning in after["warnings"])


def test_damaged_files_of_a_cell_cost_no_wrong_number(line: Line, resources: Resources) -> None:
    cell = line("save=mask")
    before = run_cell(cell, resources, Watcher())
    for name in ("result.json", "pruned.json", "blocks.jsonl", "mask.safetensors"):
        (cell.folder() / name).write_text("{}")
        cell.files.score(cell.scores[0]).unlink()
        after = run_cell(cell, resources, Watcher())
        assert [after[key] for key in KEPT] == [before[key] for key in KEPT], name


def test_metadata_of_a_mask_that_is_no_json_prunes_again(line: Line, resources: Resources) -> None:
    cell = line("save=mask")
    before = run_cell(cell, resources, Watcher())
    path = cell.folder() / "mask.safetensors"
    data = path.read_bytes()
    for old, new in ((b'\\"name\\"', b'\\"name\\\\'), (b'"about":"{', b'"about":"['), (b'"shapes":"{', b'"shapes":"[')):
        assert old in data
        path.write_bytes(data.replace(old, new.ljust(len(old))[: len(old)]))
        cell.files.score(cell.scores[0]).unlink()
        after = run_cell(cell, resources, Watcher())
        assert after["weights_sha256"] == before["weights_sha256"]
        path.write_bytes(data)


def test_a_full_disk_is_met_before_pruning(line: Line, resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(prune.pruning.saved.shutil, "disk_usage", lambda folder: usage)
    for save in ("model", "mask"):
        cell, watcher = line(f"save={save}"), Watcher()
        with pytest.raises(UserError, match=rf"save={save} needs .* GB in .* left\. Free some space"):
            run_cell(cell, resources, watcher)
        assert "prune" not in watcher.stages
    assert "prune" in stages(line(), resources)


def test_too_little_memory_names_the_setting(line: Line, resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(CellRun, "_score", fail)
    with pytest.raises(OutOfMemoryError, match=r"measuring acc/rte needs more memory .* eval\.batch_size \("):
        run_cell(line(), resources, Watcher())
    monkeypatch.setattr(CellRun, "_prune", fail)
    with pytest.raises(OutOfMemoryError, match=r"pruning needs more memory .* batch_size \("):
        run_cell(line("sparsity.ratio=0.3"), resources, Watcher())
    assert "OutOfMemoryError: pruning" in str((read_status(line("sparsity.ratio=0.3").folder()) or {})["error"])


def test_a_disk_that_turns_read_only_in_a_cell_is_what_is_told(
    line: Line, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*args: Any, **kwargs: Any) -> None:
        with disk_errors(line().folder() / "scores"):
            raise OSError(errno.EROFS, "Read-only file system")

    def refuse(*args: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system", ".claim-0")

    monkeypatch.setattr(CellRun, "_score", read_only)
    monkeypatch.setattr(prune.cell.lock.os, "truncate", refuse)
    with pytest.raises(UserError, match="could not be written: Read-only file system"):
        run_cell(line(), resources, Watcher())


def test_the_same_line_again_says_done_of_a_cell_that_was_killed_and_a_plan_writes_nothing_in_cells(
    say: Callable[..., Said], tmp_path: Path
) -> None:
    line = [*SMALL, "method=dense"]
    assert say(*line).code == 0
    (folder,) = (tmp_path / "outputs/cells").iterdir()
    write_status(folder, State.running)
    before = contents(folder)
    assert "done 1" in say(*line, "eval.limit=2", "launcher=plan").out and contents(folder) == before
    assert "1 of 1 cells are finished already" in say(*line).out
    assert (read_status(folder) or {})["state"] == "done"


def test_an_interrupted_cell_says_so_in_a_line(line: Line, resources: Resources) -> None:
    class Interrupts(Watcher):
        def stage(self, name: str) -> None:
            if name == "prune":
                raise KeyboardInterrupt

    cell = line()
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, resources, Interrupts())
    log = cell.files.log.read_text()
    assert "INFO interrupted; the same line goes on from here" in log
    assert "ERROR" not in log and "Traceback" not in log
    status = read_status(cell.files.path) or {}
    assert (status["state"], status["error"]) == ("failed", "interrupted")
