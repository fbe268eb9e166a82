"""Targets and ratios by name, from the command line to the result."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prune.cell.folder import CellFolder
from prune.config.model import ModelConfig
from prune.models.blocks import named_linears, read_weight
from prune.models.load import built_linears
from tests.architectures import CONFIGS, tiny_model
from tests.conftest import Said

Say = Callable[..., Said]
LINE = ["eval.tasks=[]", "eval.perplexity=[wikitext2]", "eval.num_chunks=1", "eval.seq_len=64", "tracker=none"]
SMALL_CALIB = ["calib=c4", "calib.num_samples=2", "calib.seq_len=64"]


def read_cells(folder: Path) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """result.json and the lines of blocks.jsonl of the pruned cells."""
    cells = [
        (json.loads(path.read_text()), CellFolder(path.parent).read_linears())
        for path in folder.glob("outputs/cells/*/result.json")
    ]
    return [(result, linears) for result, linears in cells if linears]


def test_targets_and_ratios_reach_the_result(say: Say, tmp_path: Path) -> None:
    choice = ["method.targets=[*.mlp.*]", "method.skip=[0.*]", "sparsity.ratios={1.*:0.25}", "sparsity.ratio=0.75"]
    said = say(*LINE, *SMALL_CALIB, *choice)
    assert said.code == 0, said.err
    ((result, linears),) = read_cells(tmp_path)
    pruned = [linear for linear in linears if not linear["skipped"]]
    assert pruned and all(".mlp." in f".{linear['name']}." and linear["block"] > 0 for linear in pruned)
    for linear in pruned:
        assert linear["asked"] == (0.25 if linear["block"] == 1 else 0.75)
        assert linear["num_removed"] == linear["asked"] * linear["num_weights"] == linear["num_zero"]
    num_weights = sum(linear["num_weights"] for linear in pruned)
    expected = sum(linear["asked"] * linear["num_weights"] for linear in pruned) / num_weights
    assert result["sparsity"] == {
        "asked": expected,
        "reached": expected,
        "num_zero": sum(linear["num_zero"] for linear in pruned),
        "num_weights": num_weights,
        "zero_before": 0.0,
    }
    skipped = [linear for linear in linears if linear["skipped"]]
    assert result["linears"] == {
        "num_pruned": len(pruned),
        "block_ratios": [0.0, 0.25] + [0.75] * (max(linear["block"] for linear in linears) - 1),
        "skipped": [f"{linear['block']}.{linear['name']}" for linear in skipped],
        "num_weights_skipped": sum(linear["num_weights"] for linear in skipped),
    }
    assert result["axes"]["sparsity"] == "75%-mapped"


@pytest.mark.parametrize("method", [["method=wanda", "method.variant=true"], ["method=ria"]], ids=["variant", "ria"])
def test_methods_are_reached_from_the_line(say: Say, tmp_path: Path, method: list[str]) -> None:
    said = say(*LINE, *SMALL_CALIB, *method)
    assert said.code == 0, said.err
    ((result, linears),) = read_cells(tmp_path)
    assert result["axes"]["method"] == method[0].removeprefix("method=")
    assert result["sparsity"]["asked"] == 0.5
    assert result["sparsity"]["reached"] == pytest.approx(0.5, abs=1e-3)
    exact = all(linear["num_removed"] * 2 == linear["num_weights"] for linear in linears)
    assert exact == (method == ["method=ria"])


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_owl_gives_each_block_its_ratio(say: Say, tmp_path: Path, method: str) -> None:
    owl = ["sparsity.ratio=0.6", "sparsity.allocation=owl", "sparsity.owl_m=3"]
    said = say(*LINE, *SMALL_CALIB, f"method={method}", *owl, "method.skip=[*.o_proj]")
    assert said.code == 0, said.err
    ((result, linears),) = read_cells(tmp_path)
    ratios = result["linears"]["block_ratios"]
    assert sum(ratios) / len(ratios) == pytest.approx(0.6)
    assert max(ratios) - min(ratios) == pytest.approx(0.16)
    pruned = [linear for linear in linears if not linear["skipped"]]
    assert all(linear["asked"] == ratios[linear["block"]] for linear in pruned)
    assert all(
        0 <= linear["asked"] * linear["num_weights"] - linear["num_removed"] < max(linear["shape"]) for linear in pruned
    )
    assert result["axes"]["sparsity"] == "60%-owl" and result["calib"] is not None


def test_a_grid_of_targets_and_ratios(say: Say, tmp_path: Path) -> None:
    axes = ["method=magnitude", "method.targets=[0.*],[1.*]", "sparsity.ratios=null,{*.mlp.*:0.25}"]
    said = say("-m", *LINE, *axes)
    assert said.code == 0, said.err
    cells = read_cells(tmp_path)
    assert len(cells) == 4
    blocks = [{linear["block"] for linear in linears if not linear["skipped"]} for _, linears in cells]
    shares = [sorted({linear["asked"] for linear in linears}) for _, linears in cells]
    found = sorted(zip(map(sorted, blocks), shares, strict=True))
    assert found == [([block], ratios) for block in (0, 1) for ratios in ([0.0, 0.25, 0.5], [0.0, 0.5])]
    table = said.out.partition("┏")[2]
    assert table.count("[0.*]") == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.skip=[*.nothing]", "method.skip: *.nothing matches no linear of this model. It has blocks 0 to"),
        ("method.targets=[9*]", "method.targets: 9* matches no linear of this model. It has blocks 0 to"),
        ("sparsity.ratios={*.up:0.3}", "sparsity.ratios: *.up matches no linear that is pruned. Pruned are blocks 0 to"),
    ],
)
def test_a_pattern_that_matches_nothing_names_the_linears_before_anything_runs(
    say: Say, tmp_path: Path, override: str, message: str
) -> None:
    said = say("-m", *LINE, "method=magnitude", "calib.seed=0", override)
    assert said.code == 2 and message in said.err and "self_attn.q_proj" in said.err
    assert not (tmp_path / "outputs/cells").exists()


@pytest.mark.parametrize("architecture", CONFIGS)
def test_names_and_shapes_are_known_without_weights(architecture: str, tmp_path: Path) -> None:
    config = CONFIGS[architecture]()
    config.save_pretrained(tmp_path)
    built = built_linears(ModelConfig(name="hf", path=str(tmp_path), seq_len=2))
    assert built == {name: tuple(read_weight(linear).shape) for name, linear in named_linears(tiny_model(config)).items()}


def test_names_that_cannot_be_known_are_left_to_the_loading(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nosuch"}')
    assert built_linears(ModelConfig(name="hf", path=str(tmp_path), seq_len=2)) is None
    assert built_linears(ModelConfig(name="hf", path=str(tmp_path), gguf_file="a.gguf", seq_len=2)) is None
