"""Cells whose kept weights are refitted: their identity, names and files, and that a refit begun anew ends the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from prune.cell.cell import Cell, make_cell
from prune.cell.folder import CellFolder
from prune.cell.identity import recipe_of
from prune.cell.resources import Resources
from prune.cell.result import read_cell_result
from prune.cell.run import run_cell
from prune.pruning.reconstruct import Reconstruction
from prune.report.results.join import join_cells
from prune.track.content import block_history, run_config, run_tags
from tests.cell.test_dense_passes import Watcher
from tests.conftest import Compose, Said

SMALL = ("calib=c4", "calib.num_samples=4", "calib.seq_len=32", "method.targets=['0.*','1.*']", "tracker=none", "device=cpu")
QUICK = ("eval.tasks=[]", "eval.perplexity=[c4]", "eval.num_chunks=1", "eval.seq_len=32", "batch_size=2")
FAST = ("reconstruct=block", "reconstruct.rate=1e-4", "reconstruct.epochs=2")


def line(compose_config: Compose, folder: Path, *overrides: str) -> Cell:
    return make_cell(compose_config(*SMALL, *QUICK, f"output_dir={folder}", *overrides))


def test_a_refit_is_another_cell_where_weights_are_pruned(compose_config: Compose, tmp_path: Path) -> None:
    plain, none = line(compose_config, tmp_path), line(compose_config, tmp_path, "reconstruct=none")
    refitted = line(compose_config, tmp_path, "reconstruct=block")
    assert plain.id == none.id != refitted.id and "reconstruct" not in plain.canonical
    assert plain.name == "tiny/c4/wanda/50%/s0" and refitted.name == "tiny/c4/wanda+block/50%/s0"
    assert plain.axes.reconstruct is None and refitted.axes.reconstruct == "block"
    knobs = {"granularity": "block", "inputs": "dense", "epochs": 1, "rate": 1e-5, "batch_size": 2}
    assert refitted.canonical["reconstruct"] == {"class": "BlockReconstructConfig", **knobs}
    dense, bare = (line(compose_config, tmp_path, "method=dense", *more) for more in (["reconstruct=block"], []))
    assert dense.id == bare.id == refitted.dense_id


def test_a_refit_needs_a_calibration_set_whatever_the_method(compose_config: Compose, tmp_path: Path) -> None:
    magnitude = line(compose_config, tmp_path, "method=magnitude")
    refitted = line(compose_config, tmp_path, "method=magnitude", "reconstruct=block")
    assert recipe_of(magnitude.config) is None and magnitude.axes.calib is None
    assert recipe_of(refitted.config) is not None and refitted.name == "tiny/c4/magnitude+block/50%/s0"
    weighted = line(compose_config, tmp_path, "method=magnitude", "reconstruct=block", "weight=first")
    assert weighted.id == refitted.id, "in a refit every token counts as in the set"
    assert line(compose_config, tmp_path, *FAST, "weight=first").id != line(compose_config, tmp_path, *FAST).id


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def resources() -> Resources:
    return Resources()


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_what_a_cell_leaves(compose_config: Compose, outputs: Path, resources: Resources, method: str) -> None:
    plain, refitted = (line(compose_config, outputs, f"method={method}", *more) for more in ((), FAST))
    before, result = (run_cell(cell, resources, Watcher()) for cell in (plain, refitted))
    assert before["reconstruct"] is None
    told = result["reconstruct"]
    assert 0 < told["block_error"] < told["block_error_pruned"] < 1 and told["seconds"] > 0
    assert result["sparsity"] == before["sparsity"], "counts are those of the mask"
    assert result["weights_sha256"] != before["weights_sha256"]
    assert result["axes"]["reconstruct"] == "block" and result["calib"] is not None
    linears = CellFolder(refitted.folder()).read_linears()
    history = block_history([each for each in linears if not each["skipped"]])
    for block in history:
        assert 0 < block["block/output_error"] < block["block/output_error_pruned"]
    assert not any(
        "output_error" in key for block in block_history(CellFolder(plain.folder()).read_linears()) for key in block
    )


def test_a_run_that_broke_off_in_a_refit_ends_the_same(
    compose_config: Compose, outputs: Path, tmp_path: Path, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_cell(line(compose_config, outputs, *FAST), resources, Watcher())
    cell, leave = line(compose_config, tmp_path, *FAST), Reconstruction.leave

    def stop(self: Reconstruction, reports: Any) -> Any:
        if reports[0].block == 1:
            raise KeyboardInterrupt
        return leave(self, reports)

    monkeypatch.setattr(Reconstruction, "leave", stop)
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, resources, Watcher())
    monkeypatch.undo()
    again = run_cell(cell, resources, Watcher())
    assert again["weights_sha256"] == whole["weights_sha256"] and again["metrics"] == whole["metrics"]


def test_saved_weights_of_a_refit_are_used_again(compose_config: Compose, tmp_path: Path, resources: Resources) -> None:
    first = run_cell(line(compose_config, tmp_path, *FAST, "save=model"), resources, Watcher())
    cell = line(compose_config, tmp_path, *FAST, "eval.perplexity=[pile]")
    again = run_cell(cell, resources, Watcher())
    assert again["weights_sha256"] == first["weights_sha256"]
    assert "used again" in (cell.folder() / "run.log").read_text()
    card = (cell.folder() / "model/README.md").read_text()
    assert "| kept weights refitted | block by block (granularity=block, inputs=dense, epochs=2, rate=0.0001" in card


def test_page_and_tracker_tell_them_apart(compose_config: Compose, outputs: Path, resources: Resources) -> None:
    cells = [line(compose_config, outputs, *more) for more in ((), FAST, (*FAST, "reconstruct.epochs=1"))]
    made = [run_cell(cell, resources, Watcher()) for cell in cells]
    joined = join_cells([read_cell_result(cell.folder()) for cell in cells], [])
    assert [(group.method, group.setting) for group in joined.groups] == [
        ("wanda", ""),
        ("wanda+block", "reconstruct.epochs=2"),
        ("wanda+block", "reconstruct.epochs=1"),
    ]
    assert run_tags(made[1]) == ["tiny", "c4", "block"] and run_tags(made[0]) == ["tiny", "c4"]
    asked = {"reconstruct": {"name": "block"}, "sparsity": {}, "select": {}, "weight": {}}
    assert run_config(asked, made[1])["reconstruct"] == {"name": "block"}
    assert run_config(asked, made[0])["reconstruct"] == {"name": "none"}


def test_it_is_an_axis_of_a_line_and_shown_where_it_varies(say: Any, tmp_path: Path) -> None:
    words = ("-m", *SMALL, *QUICK, "reconstruct=none,block", "method=dense,wanda", "launcher=plan", "sweep.name=both")
    said: Said = say(*words)
    assert said.code == 0, said.err
    assert "4 grid points, 2 distinct pruned cells, 1 dense." in said.out
    assert "tiny/c4/wanda/50%/s0" in said.out and "tiny/c4/wanda+block/50%/s0" in said.out
    rows = [json.loads(row) for row in (tmp_path / "outputs/sweeps/both/grid.jsonl").read_text().splitlines()]
    assert len({row["cell"] for row in rows if "cell" in row}) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["reconstruct=blocks"], "reconstruct"),
        (["reconstruct=block", "reconstruct.rate=0"], "reconstruct.rate=0"),
        (["reconstruct=block", "reconstruct.granularity=matrix"], "granularity"),
        (["reconstruct.epochs=2"], "epochs"),
    ],
)
def test_wrong_lines_are_told(say: Any, words: list[str], told: str) -> None:
    said: Said = say(*SMALL, *words)
    assert said.code == 2 and told in said.err
