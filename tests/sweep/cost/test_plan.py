"""What `launcher=plan` says of the time of a line: shares and rules by hand, at a stated rate."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from prune.calib.set_folder import TOKENS_FILE, set_folder
from prune.cell.cell import Cell
from prune.sweep.cost import bill as of_bill
from prune.sweep.cost import rate as of_rate
from prune.sweep.cost.bill import Bill, by_axis, by_stage, make_bill
from prune.sweep.cost.work import work_of_pruning, work_of_set
from prune.sweep.launchers import plan
from prune.sweep.sweep import Sweep
from tests.conftest import Said

Say = Callable[..., Said]
RATE = "launcher.tflops=0.05"
BARE = ("eval.tasks=[]", "eval.perplexity=[]", "tracker=none", "launcher=plan", RATE)
SMALL = ("calib.num_samples=4", "calib.seq_len=64")


@pytest.fixture
def cells_of(say: Say, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sequence[Cell]]:
    """The cells of a line."""
    seen: list[Sequence[Cell]] = []

    def keep(cells: Sequence[Cell], sweep: Sweep) -> list[str]:
        seen.append(cells)
        return []

    monkeypatch.setattr(plan, "describe_cost", keep)

    def cells(*line: str) -> Sequence[Cell]:
        said = say(*line, *BARE)
        assert said.code == 0, said.err
        return seen[-1]

    return cells


def bill_of(cells: Sequence[Cell], folder: Path) -> Bill:
    return make_bill(cells, folder, 0.05)


def stage(bill: Bill, cells: Sequence[Cell], name: str, which: str) -> float:
    (cell,) = [cell for cell in cells if cell.name == name]
    return bill.seconds[cell.id][which]


def test_a_set_is_charged_once_and_not_when_it_is_there(cells_of: Callable[..., Sequence[Cell]], tmp_path: Path) -> None:
    cells = cells_of("-m", "calib=c4,gsm8k", "method=wanda,sparsegpt", *SMALL)
    bill = bill_of(cells, tmp_path)
    charged = [cell.name for cell in cells if bill.seconds[cell.id]["sets"]]
    assert charged == ["tiny/c4/wanda/50%/s0", "tiny/gsm8k-icl/wanda/50%/s0"]
    recipe = cells[1].recipe
    assert recipe is not None
    folder = set_folder(recipe, tmp_path / "outputs")
    folder.mkdir(parents=True)
    assert stage(bill_of(cells, tmp_path), cells, "tiny/c4/wanda/50%/s0", "sets"), "without its tokens it is to be made"
    (folder / TOKENS_FILE).touch()
    assert not stage(bill_of(cells, tmp_path), cells, "tiny/c4/wanda/50%/s0", "sets")
    assert stage(bill, cells, "tiny/c4/sparsegpt/50%/s0", "pruning") > 0


def test_what_passes_and_what_is_solved(cells_of: Callable[..., Sequence[Cell]]) -> None:
    line = ("calib=c4", "method=wanda,sparsegpt,magnitude", "method.propagation=pruned,dense", *SMALL)
    cells = {(cell.name, str(cell.config.method.propagation.value)): cell for cell in cells_of("-m", *line)}
    shape = of_bill.model_shape(next(iter(cells.values())).config.model)
    assert shape is not None

    def work(method: str, propagation: str, *, again: bool = True) -> "tuple[float, float]":
        cell = cells[f"tiny/c4/{method}/50%/s0", propagation]
        done = work_of_pruning(cell.config, shape, cell.recipe, passes_again=again)
        return done.flops, done.solve_flops

    one_pass = shape.num_blocks * shape.block_flops(256, 64)
    solved = shape.num_blocks * sum(4 * outputs * inputs**2 for outputs, inputs in shape.linears)
    statistics = shape.num_blocks * (3 * (256 * 128**2 + 2 * 128**3) + 256 * 384**2 + 2 * 384**3)
    assert work("wanda", "pruned") == (2 * one_pass, 0)
    assert work("wanda", "dense") == (one_pass, 0)
    assert work("wanda", "dense", again=False) == (0, 0)
    assert work("sparsegpt", "pruned") == (2 * one_pass, solved + statistics)
    magnitude = next(cell for (name, _), cell in cells.items() if name == "tiny/magnitude/50%")
    assert work_of_pruning(magnitude.config, shape, magnitude.recipe).flops == 0


def test_one_pass_through_the_dense_model_serves_several_cells(
    cells_of: Callable[..., Sequence[Cell]], tmp_path: Path
) -> None:
    cells = cells_of("-m", "calib=c4", "method.propagation=dense", "sparsity.ratio=0.3,0.5,0.7", *SMALL)
    seconds = bill_of(cells, tmp_path).seconds
    first, second, third = (seconds[cell.id]["pruning"] for cell in cells if not cell.is_dense)
    assert first > second == pytest.approx(third)


def test_what_the_model_makes_or_chooses_costs_more(cells_of: Callable[..., Sequence[Cell]]) -> None:
    line = ("-m", "calib=c4,generated,wikitext2", "select=random,least_perplexity", *SMALL)
    of_sets = {}
    for cell in cells_of(*line):
        shape = of_bill.model_shape(cell.config.model)
        if cell.recipe is not None and shape is not None:
            of_sets[cell.axes.calib, cell.axes.select] = work_of_set(cell.recipe, shape)
    plain, chosen = of_sets["c4", None], of_sets["c4", "least_perplexity"]
    assert plain.flops == of_sets["wikitext2", None].flops
    assert chosen.flops == pytest.approx((1 + 8) * plain.flops)
    assert plain.thin_flops == 0 < of_sets["generated", None].thin_flops
    assert of_sets["generated", None].flops == pytest.approx((1 + 1 / 0.8) * plain.flops)


def test_seconds_add_up_on_each_axis(cells_of: Callable[..., Sequence[Cell]], tmp_path: Path) -> None:
    cells = cells_of("-m", "calib=c4,gsm8k", "select=random,longest", "method=wanda,sparsegpt", *SMALL)
    bill = bill_of(cells, tmp_path)
    everything = sum(map(bill.of_cell, cells))
    assert sum(by_stage(bill).values()) == pytest.approx(everything)
    axes = by_axis(cells, bill)
    assert list(axes) == ["calib", "select", "method"]
    for values in axes.values():
        assert sum(values.values()) == pytest.approx(everything)
    assert list(axes["select"]) == ["-", "random", "longest"]


def test_a_plan_says_how_long_where_it_goes_and_at_whose_rate(say: Say) -> None:
    line = ("-m", "calib=c4,gsm8k", *SMALL, "eval.limit=4", "eval.num_chunks=2", "tracker=none", "launcher=plan")
    said = say(*line, RATE, "launcher.num_workers=2")
    assert re.search(r"To do: 3 cells, about \d+ s one after another \(sets \d+ s, pruning \d+ s, scores \d+ s\)", said.out)
    assert re.search(r"  calib: - \d+ s, c4 \d+ s, gsm8k \d+ s\n", said.out)
    assert "At the rate of 0.05 TFLOP/s as launcher.tflops says: 50 GFLOP/s." in said.out
    assert re.search(r"With 2 workers about \d+ s", said.out) and "Not counted: " in said.out
    refused = say(*line, "launcher.tflops=0")
    assert refused.code == 2 and "launcher.tflops=0" in refused.err


def test_the_rate_is_measured_once(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = ("-m", "method=random", "calib.seed=0,1", "eval.tasks=[]", "eval.perplexity=[]", "tracker=none", "launcher=plan")
    assert "threads, float32: " in say(*line).out
    kept = json.loads((tmp_path / "outputs/rates.json").read_text())
    assert len(kept) == 2, "a rate and the checksum"

    def fail(*arguments: object) -> None:
        raise AssertionError("it was measured already")

    monkeypatch.setattr(of_rate, "measure_rate", fail)
    said = say(*line)
    assert said.code == 0 and "threads, float32: " in said.out, said.err


def test_a_model_that_is_not_here_has_no_estimate(say: Say) -> None:
    line = ("-m", "model=tiny,qwen3_0_6b", "method=random", "data=sample", *BARE)
    said = say(*line)
    assert said.code == 0, said.err
    assert "No estimate of the time of 2 cells (qwen3_0_6b/" in said.out and "To do: 2 cells" in said.out


def test_rows_that_are_not_here_are_named(say: Say) -> None:
    scores = ("method=dense", "eval.tasks=[gsm8k]", "eval.perplexity=[c4]", *BARE[2:])
    said = say("data=hub", *scores)
    assert said.code == 0, said.err
    assert "Rows that are not here, whose sizes are assumed: c4, gsm8k." in said.out
    assert "Rows that are not here" not in say(*scores).out
