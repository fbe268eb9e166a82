"""Cells with token weights: their identity, their numbers, and that none gets the statistics of another weight."""

from pathlib import Path
from typing import Any

import pytest
import torch

from prune.calib.store import load
from prune.cell.cell import Cell, make_cell
from prune.cell.dense_statistics import DensePasses
from prune.cell.identity import pass_key
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.pruning.propagation import KeptInputs
from prune.pruning.registry import build_weights
from prune.pruning.weighted_set import weighted
from tests.architectures import CONFIGS, tiny_model
from tests.cell.test_dense_passes import SET, Watcher, no_word
from tests.conftest import Compose

SMALL = ("calib=svamp", "prompt=single", "calib.num_samples=3", "calib.seq_len=96", "batch_size=2")
QUICK = ("eval.tasks=[]", "eval.perplexity=[]", "tracker=none", "device=cpu")
SCALED = ("attention", "activation_norm", "activation_change", "similarity", "frequency")
NAMES = ("none", *SCALED, "first", "sequence")


def line(compose_config: Compose, folder: Path, *overrides: str, names: tuple[str, ...] = NAMES) -> list[Cell]:
    words = (*SMALL, *QUICK, "weight.tokens=9", f"output_dir={folder}", *overrides)
    return [
        make_cell(compose_config(f"weight={name}", *(word for word in words if name == "first" or "tokens" not in word)))
        for name in names
    ]


def hashes(cells: list[Cell], resources: Resources | None = None) -> list[str]:
    return [run_cell(cell, resources or Resources(), Watcher())["weights_sha256"] for cell in cells]


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_weights_that_share_a_line_are_those_that_run_alone(compose_config: Compose, tmp_path: Path, method: str) -> None:
    """method.propagation=dense, whose passes are shared: on padded rows each weight has numbers of its own, apart or not."""
    asked = ("method.propagation=dense", f"method={method}")
    names = ("none", "attention", "similarity", "first")
    apart = hashes(line(compose_config, tmp_path / "apart", *asked, names=names))
    together, resources = line(compose_config, tmp_path / "together", *asked, names=names), Resources()
    resources.dense_passes.expect(together)
    assert hashes(together, resources) == apart
    assert len(set(apart)) == len(names)


def test_a_pass_serves_cells_of_one_weight_alone(compose_config: Compose, tmp_path: Path) -> None:
    dense = ("method.propagation=dense",)
    of_wanda, of_ria = (line(compose_config, tmp_path, *dense, f"method={method}") for method in ("wanda", "ria"))
    keys = [pass_key(cell.config) for cell in of_wanda]
    assert len(set(keys)) == len(NAMES) and keys == [pass_key(cell.config) for cell in of_ria]
    passes = DensePasses()
    made: list[Any] = []
    for cell in (of_wanda[1], of_ria[1], of_ria[2]):
        model = tiny_model(CONFIGS["llama"]())
        weighted_set = weighted(SET, build_weights(cell.config.weight))
        inputs = passes.inputs(cell, model, weighted_set, no_word)
        assert isinstance(inputs, KeptInputs)
        made.append(inputs.blocks)
    assert made[0] is made[1] and made[1] is not made[2]


def test_a_weight_is_part_of_a_cell_and_equal_knobs_are_none(compose_config: Compose, tmp_path: Path) -> None:
    cells = line(compose_config, tmp_path)
    assert len({cell.id for cell in cells}) == len(NAMES)
    for name in SCALED:
        changed = [
            make_cell(compose_config(*SMALL, f"weight={name}", knob)).id for knob in ("weight.min=0.1", "weight.max=2")
        ]
        assert len({*changed, *(cell.id for cell in cells)}) == len(NAMES) + 2
        (alike,) = line(compose_config, tmp_path, "weight.min=0.5", "weight.max=0.5", names=(name,))
        assert alike.id == cells[0].id


@pytest.mark.slow
@pytest.mark.parametrize("name", SCALED)
def test_equal_knobs_have_the_numbers_of_none(compose_config: Compose, tmp_path: Path, name: str) -> None:
    """Nearly equal ones too have an id of their own, and need the whole path."""
    none, near = (
        line(compose_config, tmp_path, names=("none",)),
        line(compose_config, tmp_path, "weight.min=0.999999999", names=(name,)),
    )
    assert none[0].id != near[0].id
    assert hashes(none) == hashes(near)


@pytest.mark.parametrize(
    ("base", "is_none"),
    [
        (("calib=c4",), True),
        (("calib=wikitext2", "calib.compat=study"), True),
        (("calib=c4", "calib.real_tokens=64"), False),
        (("calib=mix", "calib.parts={c4: 2, svamp: 1}"), False),
    ],
    ids=["text", "running text", "padded text", "mixture"],
)
def test_sequences_without_padding_count_the_same(
    compose_config: Compose, tmp_path: Path, base: tuple[str, ...], is_none: bool
) -> None:
    words = (*SMALL[1:], *QUICK, f"output_dir={tmp_path}", *base)
    plain, by_sequence = (make_cell(compose_config(*words, f"weight={name}")) for name in ("none", "sequence"))
    assert (plain.id == by_sequence.id) == is_none
    if is_none:
        made = run_cell(plain, Resources(), Watcher())
        weights = build_weights(by_sequence.config.weight)
        calibration = load(tmp_path / "calib" / made["calib"]["id"])
        assert torch.equal(weighted(calibration, weights).weights_NL, calibration.weights_NL)
