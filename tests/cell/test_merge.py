"""Merged cells: the mean of two pruned models' weights, pruned back, beside plain tensor code."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from prune.calib.store import load
from prune.cell.cell import Cell, make_cell
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.errors import UserError
from prune.models.blocks import named_linears, read_weight, weights_sha256, write_weight
from prune.models.load import load_model
from prune.pruning.layerwise import prune_model
from prune.pruning.merge import stack_sets
from prune.pruning.methods.wanda import Wanda
from prune.pruning.saved import restore_pruned
from prune.pruning.sparsity import Unstructured
from prune.report.build import build_report
from prune.report.format import row_label
from tests.conftest import Compose, RunLine

SMALL = (
    *("calib.num_samples=2", "calib.seq_len=48", "eval.perplexity=[c4]", "eval.tasks=[]", "eval.num_chunks=1"),
    *("tracker=none", "device=cpu"),
)


class Quiet:
    def stage(self, name: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass


class Cells:
    """Runs small cells of the embedded model in one folder."""

    def __init__(self, compose: Compose, folder: Path) -> None:
        self._compose, self._folder, self._resources = compose, folder, Resources()

    def make(self, *overrides: str) -> Cell:
        last = {word.partition("=")[0]: word for word in (*SMALL, f"output_dir={self._folder}", *overrides)}
        return make_cell(self._compose(*last.values()))

    def run(self, *overrides: str) -> tuple[Cell, dict[str, Any]]:
        cell = self.make(*overrides)
        return cell, run_cell(cell, self._resources, Quiet())

    def parents(self, *overrides: str) -> list[Cell]:
        lines = (("calib=c4",), ("calib=gsm8k", "prompt=icl"))
        return [self.run(*line, "save=mask", *overrides)[0] for line in lines]

    def merged(self, parents: list[Cell], *overrides: str) -> list[str]:
        return ["calib=c4", f"merge.cells=[{','.join(cell.id for cell in parents)}]", *overrides]


@pytest.fixture
def cells(compose_config: Compose, tmp_path: Path) -> Cells:
    return Cells(compose_config, tmp_path)


def weights_of(cell: Cell) -> dict[str, Tensor]:
    """The weights of a finished cell, read back from what it saved."""
    model = load_model(cell.config.model, "cpu").model
    assert restore_pruned(cell.folder(), model, json.loads((cell.folder() / "result.json").read_text())["weights_sha256"])
    return {name: read_weight(linear).clone() for name, linear in named_linears(model).items()}


def naive_magnitude(weight_OI: Tensor, ratio: float) -> Tensor:
    order = weight_OI.abs().flatten().sort(stable=True).indices
    kept = weight_OI.flatten().clone()
    kept[order[: int(weight_OI.numel() * ratio)]] = 0
    return kept.view_as(weight_OI)


def test_the_mean_is_pruned_back_by_magnitude(cells: Cells) -> None:
    parents = cells.parents()
    _, result = cells.run(*cells.merged(parents, "merge.weights=[0.25,0.75]"))
    first, second = (weights_of(parent) for parent in parents)
    model = load_model(parents[0].config.model, "cpu").model
    for name, linear in named_linears(model).items():
        write_weight(linear, naive_magnitude(0.25 * first[name] + 0.75 * second[name], 0.5))
    assert result["weights_sha256"] == weights_sha256(model)
    assert result["sparsity"]["reached"] == pytest.approx(0.5, abs=1e-3)
    assert result["merge"] == {"cells": {parents[0].name: 0.25, parents[1].name: 0.75}, "back": "magnitude"}


def test_merged_cells_of_one_name_are_listed_with_their_ids(cells: Cells) -> None:
    parents = [cells.run("calib=c4", f"calib.num_samples={number}", "save=mask")[0] for number in (2, 3)]
    _, result = cells.run(*cells.merged(parents, "merge.weights=[0.25,0.75]"))
    names = [f"{parent.name} ({parent.id})" for parent in parents]
    assert parents[0].name == parents[1].name and result["merge"]["cells"] == dict(zip(names, (0.25, 0.75), strict=True))


def test_the_mean_is_pruned_back_by_wanda_on_the_sets_of_all(cells: Cells) -> None:
    parents = cells.parents()
    _, result = cells.run(*cells.merged(parents, "merge.back=wanda"))
    first, second = (weights_of(parent) for parent in parents)
    model = load_model(parents[0].config.model, "cpu").model
    for name, linear in named_linears(model).items():
        write_weight(linear, (first[name] + second[name]) / 2)
    sets = [load(parent.output_dir / "calib" / str(parent.recipe and parent.recipe.id())) for parent in parents]
    prune_model(model, stack_sets(sets), Wanda(), Unstructured(0.5))
    assert result["weights_sha256"] == weights_sha256(model)


def test_the_id_is_that_of_the_cells_and_their_shares(cells: Cells) -> None:
    parents = cells.parents()
    plain = cells.make(*cells.merged(parents))
    assert plain.id not in {parent.id for parent in parents}
    assert (
        plain.id
        == cells.make(*cells.merged(parents[::-1])).id
        == cells.make(*cells.merged(parents, "merge.weights=[0.5,0.5]")).id
    )
    others = [cells.make(*cells.merged(parents, change)) for change in ("merge.back=wanda", "merge.weights=[0.4,0.6]")]
    assert len({plain.id, *(other.id for other in others)}) == 3
    assert plain.dense_id == parents[0].dense_id
    assert plain.name == "tiny/c4&gsm8k-icl/wanda/50%/s0"


def test_what_cannot_be_merged_is_told(cells: Cells) -> None:
    parents = cells.parents()
    sparser, _ = cells.run("calib=c4", "sparsity.ratio=0.6", "save=mask")
    unsaved, _ = cells.run("calib=pile")
    dense, _ = cells.run("method=dense")
    cases = {
        ("merge.cells=[abc,def]",): "holds no finished cell",
        (f"merge.cells=[{parents[0].id}]",): "two cells or more",
        (f"merge.cells=[{parents[0].id},{sparser.id}]",): r"differ in sparsity.ratio: 0.5 and 0.6",
        (f"merge.cells=[{parents[0].id},{unsaved.id}]",): "kept no weights. Run its line again with save=mask",
        (f"merge.cells=[{parents[0].id},{dense.id}]",): "without a calibration set",
        (*cells.merged(parents), "method=magnitude"): "uses no calibration set",
        (*cells.merged(parents), "merge.weights=[0.5,0.6]"): "sum is 1.1",
        (*cells.merged(parents), "merge.weights=[1]"): "1 numbers and merge.cells 2 cells",
    }
    for line, message in cases.items():
        with pytest.raises(UserError, match=message):
            cells.make(*line)


def test_sets_of_two_lengths_cannot_be_stacked(cells: Cells) -> None:
    parents = [cells.run("calib=c4", f"calib.seq_len={length}", "save=mask")[0] for length in (48, 40)]
    with pytest.raises(UserError, match=r"\[40, 48\] tokens long"):
        cells.run(*cells.merged(parents, "merge.back=wanda"))


@pytest.mark.slow
def test_the_command_scores_a_merged_cell_beside_the_others(run_line: RunLine, tmp_path: Path) -> None:
    done = run_line("-m", "calib=c4,gsm8k", "save=mask", *SMALL)
    assert done.returncode == 0, done.stderr
    ids = sorted({path.parent.name for path in tmp_path.glob("outputs/cells/*/mask.safetensors")})
    merged = run_line(*ids, "--weights", "0.5", "0.5", module="prune.merge")
    assert merged.returncode == 0, merged.stderr
    assert re.search(r"c4&gsm8k-icl|gsm8k-icl&c4", merged.stdout), merged.stdout
    report = build_report(tmp_path / "outputs")
    labels = [row_label(report, row) for row in range(len(report.rows.group))]
    assert {"c4", "gsm8k-icl"} < set(labels) and any("&" in label for label in labels)
    unknown = run_line("nothing", "0123", module="prune.merge")
    assert (unknown.returncode, "No sweep in outputs/sweeps has a cell nothing" in unknown.stderr) == (2, True)
