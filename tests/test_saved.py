"""A pruned model comes back from disk bit for bit, or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prune.config import ModelConfig, Save
from prune.models import find_blocks, find_linears, load_model, read_weight, weights_sha256, write_weight
from prune.saved import MASK_FILE, WEIGHTS_FILE, MaskKeeper, read_mask, restore_pruned, save_pruned

from .conftest import Said

TINY = ModelConfig(name="tiny", seq_len=256)
Say = Callable[..., Said]
LINE = ["calib=c4", "calib.num_samples=4", "eval.perplexity=[wikitext2]", "eval.num_chunks=1", "tracker=none"]


def dense() -> Any:
    return load_model(TINY, "cpu").model


def prune_half(model: Any, masks: MaskKeeper, *, update: bool = False) -> None:
    """Remove a random half of every matrix; with `update` the other weights change too."""
    generator = torch.Generator().manual_seed(0)
    for index, block in enumerate(find_blocks(model)):
        for name, linear in find_linears(block).items():
            weight_OI = read_weight(linear)
            mask_OI = torch.rand(weight_OI.shape, generator=generator) < 0.5
            masks(index, name, mask_OI)
            write_weight(linear, (weight_OI * (1.25 if update else 1)).masked_fill(mask_OI, 0))


@pytest.mark.parametrize(("save", "update"), [(Save.mask, False), (Save.model, False), (Save.model, True)])
def test_the_same_bits_come_back(tmp_path: Path, save: Save, update: bool) -> None:
    model, masks = dense(), MaskKeeper()
    prune_half(model, masks, update=update)
    sha256 = weights_sha256(model)
    save_pruned(tmp_path, save, model, masks)
    again = dense()
    assert restore_pruned(tmp_path, again, sha256) and weights_sha256(again) == sha256


def test_a_mask_takes_a_bit_a_weight_and_is_read_back(tmp_path: Path) -> None:
    model, masks = dense(), MaskKeeper()
    prune_half(model, masks)
    save_pruned(tmp_path, Save.mask, model, masks)
    shapes = {
        f"{index}.{name}": tuple(read_weight(linear).shape)
        for index, block in enumerate(find_blocks(model))
        for name, linear in find_linears(block).items()
    }
    num_weights = sum(rows * columns for rows, columns in shapes.values())
    assert (tmp_path / MASK_FILE).stat().st_size < num_weights / 8 * 1.1
    read = read_mask(tmp_path, shapes)  # type: ignore[arg-type]
    assert read is not None and read.keys() == shapes.keys()
    for index, block in enumerate(find_blocks(model)):
        for name, linear in find_linears(block).items():
            assert not read_weight(linear)[read[f"{index}.{name}"]].any()
    assert sum(int(mask.sum()) for mask in read.values()) == pytest.approx(num_weights / 2, rel=0.01)
    assert read_mask(tmp_path / "absent", {}) is None


def test_weights_that_are_not_the_ones_asked_for_are_not_used(tmp_path: Path) -> None:
    model, masks = dense(), MaskKeeper()
    prune_half(model, masks, update=True)  # a mask alone cannot bring these weights back
    save_pruned(tmp_path, Save.mask, model, masks)
    again = dense()
    before = weights_sha256(again)
    assert not restore_pruned(tmp_path, again, weights_sha256(model))
    assert weights_sha256(again) == before
    (tmp_path / MASK_FILE).write_bytes(b"damaged")
    assert not restore_pruned(tmp_path, again, weights_sha256(model))
    assert not restore_pruned(tmp_path / "absent", again, weights_sha256(model))


def result(folder: Path) -> dict[str, Any]:
    (path,) = [path for path in folder.glob("outputs/cells/*/result.json") if (path.parent / "blocks.jsonl").exists()]
    read = json.loads(path.read_text())
    assert isinstance(read, dict)
    return read | {"log": (path.parent / "run.log").read_text(), "files": {file.name for file in path.parent.iterdir()}}


@pytest.mark.parametrize(
    ("method", "save", "file"),
    [
        ("wanda", "mask", MASK_FILE),
        ("sparsegpt", "model", WEIGHTS_FILE),
        ("wanda", "none", None),
        ("sparsegpt", "mask", MASK_FILE),
    ],
)
def test_a_score_that_is_added_later_is_of_the_same_weights(
    say: Say, tmp_path: Path, method: str, save: str, file: str | None
) -> None:
    first = say(*LINE, f"method={method}", f"save={save}", "eval.tasks=[]")
    assert first.code == 0, first.err
    before = result(tmp_path)
    assert file is None or file in before["files"]
    added = say(*LINE, f"method={method}", f"save={save}", "eval.tasks=[rte]", "eval.limit=2")
    assert added.code == 0, added.err
    after = result(tmp_path)
    assert set(after["metrics"]) == {"ppl/wikitext2", "acc/rte"}
    assert after["weights_sha256"] == before["weights_sha256"] and after["sparsity"] == before["sparsity"]
    assert after["log"].count("ppl/wikitext2 = ") == 1
    from_disk = (method == "wanda" and save == "mask") or save == "model"
    assert ("they are used again" in after["log"]) == from_disk
    assert not any("other bits" in warning for warning in after["warnings"])
