"""One pass over the dense model for the cells of a process: what is kept, how long, and that it changes no bit."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from prune.calib.calibration_set import CalibrationSet
from prune.cell.cell import Cell, make_cell
from prune.cell.dense_statistics import DENSE_NOTE, DensePasses
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.models.blocks import find_blocks, weights_sha256
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import prune_model
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.propagation import DenseInputs, KeptInputs, kept_bytes
from prune.pruning.registry import build_method
from prune.pruning.saved import MASK_FILE, load_mask
from prune.pruning.sparsity import build_pattern
from tests.architectures import CONFIGS, calibration, calibration_set, tiny_model
from tests.conftest import Compose

SET = calibration_set(8, 16)
BYTES = {"norms": 960, "hessians": 43008}
"""Of the tiny Llama's statistics; see test_inputs.test_bytes_are_counted_before_the_pass."""


def no_word(done: int, total: int) -> None:
    """Told of a pass's progress."""


@pytest.fixture
def cells(compose_config: Compose) -> dict[str, Cell]:
    lines = {
        "wanda": ["method=wanda"],
        "wanda70": ["method=wanda", "sparsity.ratio=0.7"],
        "ria": ["method=ria", "sparsity=2to4"],
        "sparsegpt": ["method=sparsegpt"],
        "other": ["method=wanda", "calib=pile"],
    }
    found = {
        name: make_cell(compose_config("method.propagation=dense", "batch_size=2", *line)) for name, line in lines.items()
    }
    return found | {"published": make_cell(compose_config("method=wanda"))}


def prune(passes: DensePasses, cell: Cell) -> tuple[Any, str, int]:
    """The kind of inputs, the hash of the pruned weights, and how many forward passes of the first block it took."""
    model, begun = tiny_model(CONFIGS["llama"]()), []
    find_blocks(model)[0].register_forward_pre_hook(lambda *_: begun.append(1))
    inputs = passes.inputs(cell, model, SET, no_word)
    method, pattern = build_method(cell.config.method), build_pattern(cell.config.sparsity)
    prune_model(model, inputs or SET, method, pattern, batch_size=2, seed=0)
    return type(inputs), weights_sha256(model), len(begun)


def alone(cell: Cell) -> str:
    passes = DensePasses()
    passes.expect([cell])
    kind, sha256, _ = prune(passes, cell)
    assert kind is DenseInputs
    return sha256


def test_one_pass_serves_the_cells_to_come(cells: dict[str, Cell]) -> None:
    passes, line = DensePasses(), [cells[name] for name in ("wanda", "sparsegpt", "ria", "wanda70")]
    passes.expect(line)
    pruned = [prune(passes, cell) for cell in line]
    assert [kind for kind, _, _ in pruned] == [KeptInputs] * 4
    assert [passes_made > 0 for _, _, passes_made in pruned] == [True, False, False, False]
    assert [sha256 for _, sha256, _ in pruned] == [alone(cell) for cell in line]
    assert passes._kept == {}, "nobody else needs them"


def test_a_cell_that_is_alone_keeps_nothing(cells: dict[str, Cell]) -> None:
    passes = DensePasses()
    passes.expect([cells["wanda"], cells["other"], cells["published"]])
    assert [prune(passes, cells[name])[0] for name in ("wanda", "other", "published")] == [
        DenseInputs,
        DenseInputs,
        type(None),
    ]


def test_where_nobody_knows_what_comes_each_kind_is_kept_until_another_set_comes(cells: dict[str, Cell]) -> None:
    passes = DensePasses()
    order = ["wanda", "sparsegpt", "wanda70", "sparsegpt", "other", "wanda"]
    pruned = [prune(passes, cells[name]) for name in order]
    assert {kind for kind, _, _ in pruned} == {KeptInputs}
    assert [passes_made > 0 for _, _, passes_made in pruned] == [True, True, False, False, True, True]
    assert [sha256 for _, sha256, _ in pruned[:4]] == [alone(cells[name]) for name in order[:4]]


@pytest.mark.parametrize(
    ("available", "kept"),
    [
        (2 * (BYTES["norms"] + BYTES["hessians"]), {"wanda", "sparsegpt"}),
        (2 * (BYTES["norms"] + BYTES["hessians"]) - 2, {"wanda"}),
        (2 * BYTES["norms"] - 2, set()),
    ],
)
def test_what_does_not_fit_is_collected_by_each_cell_for_itself(
    cells: dict[str, Cell],
    available: int,
    kept: set[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("prune.cell.dense_statistics.available_memory", lambda: available)
    caplog.set_level(logging.INFO, logger="prune")
    passes, names = DensePasses(), ["wanda", "sparsegpt", "wanda70"]
    line = [cells[name] for name in names]
    passes.expect(line)
    pruned = dict(zip(names, (prune(passes, cell) for cell in line), strict=True))
    assert {name for name in ("wanda", "sparsegpt") if pruned[name][0] is KeptInputs} == kept
    assert [sha256 for _, sha256, _ in pruned.values()] == [alone(cell) for cell in line]
    assert ("each cell collects its own" in caplog.text) == (kept != {"wanda", "sparsegpt"})


def test_the_bytes_above_are_those_that_are_counted() -> None:
    model = tiny_model(CONFIGS["llama"]())
    with torch.no_grad():
        walk = Walk(model, SET, batch_size=2)
    assert kept_bytes(model, walk, SparseGPT()) == BYTES["hessians"]


def test_padding_counts_as_the_set_says() -> None:
    tokens_NL, mask_NL = calibration(padded=True)
    assert torch.equal(CalibrationSet.of_tokens(tokens_NL, mask_NL).attended(), mask_NL)
    assert bool(CalibrationSet(tokens_NL, mask_NL, torch.ones(mask_NL.shape)).attended().all())


class Watcher:
    """Says nothing; stops a cell in the middle of its pruning when told to."""

    def __init__(self, stop_at: int | None = None) -> None:
        self._stage, self._num_advances, self._stop_at = "", 0, stop_at

    def stage(self, name: str) -> None:
        self._stage = name

    def advance(self, done: int, total: int) -> None:
        self._num_advances += self._stage == "prune"
        if self._num_advances == self._stop_at:
            raise KeyboardInterrupt


def test_cells_run_together_are_those_run_alone_also_after_an_interruption(compose_config: Compose, tmp_path: Path) -> None:
    """The embedded model, through `run_cell`; the second is stopped in its first block and run again by a new process."""
    small = ["method.propagation=dense", "calib=c4", "calib.num_samples=2", "calib.seq_len=64", "save=mask"]
    small += ["eval.tasks=[]", "eval.perplexity=[]", "tracker=none", "device=cpu"]

    def line(folder: str) -> list[Cell]:
        points = [["method=wanda"], ["method=wanda", "sparsity.ratio=0.7", "method.skip=[0.*]"], ["method=sparsegpt"]]
        return [make_cell(compose_config(*small, f"output_dir={tmp_path / folder}", *point)) for point in points]

    apart = [run_cell(cell, Resources(), Watcher()) for cell in line("apart")]
    first, second, third = line("together")
    resources = Resources()
    resources.dense_passes.expect([first, second, third])
    together = [run_cell(first, resources, Watcher())]
    with pytest.raises(KeyboardInterrupt):
        run_cell(second, resources, Watcher(stop_at=1))
    resources = Resources()
    resources.dense_passes.expect([second, third])
    together += [run_cell(cell, resources, Watcher()) for cell in (second, third)]
    for one, other in zip(apart, together, strict=True):
        assert one["cell"] == other["cell"] and one["weights_sha256"] == other["weights_sha256"]
        assert one["propagation"] == other["propagation"] == "dense" and DENSE_NOTE in other["warnings"]
        paths = [tmp_path / folder / "cells" / one["cell"] / MASK_FILE for folder in ("apart", "together")]
        masks = [saved.packed for path in paths if (saved := load_mask(path)) is not None]
        assert masks[0].keys() == masks[1].keys() and all(
            torch.equal(bits, masks[1][name]) for name, bits in masks[0].items()
        )
    published = make_cell(compose_config(*small, f"output_dir={tmp_path}", "method=wanda", "method.propagation=pruned"))
    result = run_cell(published, Resources(), Watcher())
    assert result["weights_sha256"] != apart[0]["weights_sha256"] and DENSE_NOTE not in result["warnings"]


def test_statistics_are_freed_when_the_cells_that_wanted_them_end_without_pruning(cells: dict[str, Cell]) -> None:
    """The last two are restored from disk, or fail before they prune."""
    passes, line = DensePasses(), [cells[name] for name in ("wanda", "sparsegpt", "ria", "other")]
    passes.expect(line)
    prune(passes, line[0])
    passes.leave(line[0])
    assert passes._kept
    passes.leave(line[1])
    assert passes._kept, "one more needs them"
    passes.leave(line[2])
    assert passes._kept == {}
