"""Ties between removed and kept weights: counted for each linear, told where they are many."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from prune.cell.folder import CellFolder
from prune.config.model import ModelConfig
from prune.files import read_json
from prune.models.blocks import named_linears
from prune.models.load import load_model, load_tokenizer
from prune.pruning.linear_report import LinearReport, describe_ties
from prune.pruning.method import Method
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.wanda import InputNorms, Wanda
from prune.pruning.sparsity import NM, Pattern, Unstructured

METHODS: list[tuple[Method, str]] = [(Magnitude(), "matrix"), (Wanda(), "row"), (RIA(), "matrix")]
"""Each with what its unstructured scores are compared in."""


def scores(method: Method, weight_OI: Tensor, norm_I: Tensor) -> list[list[float]]:
    """The method's scores, from its formula."""
    size_OI = weight_OI.abs()
    if isinstance(method, Magnitude):
        return size_OI.tolist()
    if isinstance(method, Wanda):
        return (size_OI * norm_I).tolist()
    columns, rows = size_OI.sum(dim=0, keepdim=True), size_OI.sum(dim=1, keepdim=True)
    return ((size_OI / columns + size_OI / rows) * norm_I**0.5).tolist()


Matrix = list[list[float]]
Places = list[tuple[int, int]]


def naive_ties(score: Matrix, mask: list[list[bool]], weight: Matrix, sets: list[Places]) -> int:
    """Each removed weight against each kept one of its set."""
    return sum(
        mask[o][i] and weight[o][i] != 0 and any(not mask[p][j] and score[p][j] == score[o][i] for p, j in one)
        for one in sets
        for o, i in one
    )


def compared(kind: str, pattern: Pattern, shape: tuple[int, int]) -> list[Places]:
    """The places that are compared with each other."""
    num_out, num_in = shape
    width = pattern.m if isinstance(pattern, NM) else num_in
    if kind == "matrix" and not isinstance(pattern, NM):
        return [list(itertools.product(range(num_out), range(num_in)))]
    return [[(o, i) for i in range(first, first + width)] for o in range(num_out) for first in range(0, num_in, width)]


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("pattern", [NM(2, 4), NM(1, 4), Unstructured(0.5), Unstructured(0.3)], ids=str)
@pytest.mark.parametrize(("method", "kind"), METHODS, ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize("transposed", [False, True])
def test_ties_are_those_of_comparing_all_pairs(
    method: Method, kind: str, pattern: Pattern, levels: int, transposed: bool
) -> None:
    generator = torch.Generator().manual_seed(levels)
    weight_OI = torch.randint(-levels, levels + 1, (12, 16), generator=generator).float() / 8
    weight_OI[:, 0] += 0.5  # no column is all zero
    weight_OI = weight_OI.T.contiguous().T if transposed else weight_OI
    statistic = InputNorms(16, torch.device("cpu"))
    x_TI = torch.randint(0, 3, (5, 16), generator=generator).float()
    x_TI[:, 3] = 0  # a dead input
    statistic.add(x_TI)
    pruned = method.prune(weight_OI, statistic, pattern, generator)
    score = scores(method, weight_OI, statistic.norms())
    sets = compared(kind, pattern, (12, 16))
    assert pruned.num_ties == naive_ties(score, pruned.mask_OI.tolist(), weight_OI.tolist(), sets)


def test_weights_without_equals_have_no_ties_and_zeros_are_none() -> None:
    distinct = torch.arange(1, 65).float().view(4, 16)
    assert Magnitude().prune(distinct, None, NM(2, 4), torch.Generator()).num_ties == 0
    sparse = distinct * (torch.arange(16) % 4 == 0)
    assert Magnitude().prune(sparse, None, NM(2, 4), torch.Generator()).num_ties == 0, "which of the zeros goes is all one"


def test_all_equal_weights_tie() -> None:
    equal = torch.full((4, 16), 0.25)
    for pattern, num in ((NM(2, 4), 32), (NM(1, 4), 16), (Unstructured(0.25), 16)):
        assert Magnitude().prune(equal, None, pattern, torch.Generator()).num_ties == num


def report(num_removed: int, ties: float | None) -> LinearReport:
    return LinearReport(0, "q", (4, 8), num_removed, 2 * num_removed, 0.5, None, 0.0, num_removed, 0.5, ties=ties)


def test_more_than_a_hundredth_is_told_of_all_linears_together() -> None:
    assert describe_ties([]) is None
    assert describe_ties([report(16, None)]) is None
    assert describe_ties([report(100, 0.01), report(100, 0.01)]) is None
    told = describe_ties([report(300, 0.08), report(100, 0.0), report(400, None)])
    assert told is not None and told.startswith("6.0 % of the removed weights score the same")


@pytest.mark.slow
def test_a_cell_keeps_the_ties_of_each_linear_and_warns(tmp_path: Path) -> None:
    """Of the embedded model with weights rounded to a few levels, as de-quantising leaves them."""
    config = ModelConfig(name="tiny", seq_len=64)
    tokenizer = load_tokenizer(config)
    model = load_model(config, "cpu", tokenizer).model
    for linear in named_linears(model).values():
        linear.weight.data.mul_(32).round_().div_(32)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    line = [
        "method=magnitude,sparsegpt",
        "sparsity=2to4",
        "model=hf",
        f"model.path={tmp_path / 'model'}",
        "model.seq_len=64",
    ]
    line += ["calib=random", "calib.num_samples=2", "calib.seq_len=32", "tracker=none", f"output_dir={tmp_path}"]
    line += ["eval.tasks=[]", "eval.perplexity=[c4]", "eval.num_chunks=1", "eval.seq_len=32"]
    main = [sys.executable, "-m", "prune.main", "-m", *line]
    subprocess.run(main, cwd=tmp_path, check=True, capture_output=True, timeout=300)
    results = {result["axes"]["method"]: result for result in map(read_json, tmp_path.glob("cells/*/result.json")) if result}
    lines = {method: CellFolder(tmp_path / "cells" / result["cell"]).read_linears() for method, result in results.items()}
    removed = sum(line["num_removed"] for line in lines["magnitude"])
    share = sum(line["ties"] * line["num_removed"] for line in lines["magnitude"]) / removed
    assert share > 0.1
    told = f"{100 * share:.1f} % of the removed weights score the same as a kept one"
    assert any(warning.startswith(told) for warning in results["magnitude"]["warnings"])
    assert {line["ties"] for line in lines["sparsegpt"]} == {None}
    assert not any("score the same" in warning for warning in results["sparsegpt"]["warnings"])
