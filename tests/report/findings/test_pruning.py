import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from prune.pruning.saved import MASK_FILE as WRITTEN_MASK_FILE
from prune.report.build import build_report
from prune.report.findings import pruning
from prune.report.findings.pruning import MASK_FILE, count_common
from prune.report.model_findings import BlockExperts
from tests.report.result_files import Outputs

ACC = {"acc/gsm8k": [1, 0]}


def write_blocks(folder: Path, lines: list[tuple[int, int, int, float | None]]) -> None:
    """(block, zeros, weights, error) of each linear."""
    keys = ("block", "num_zero", "num_weights", "error")
    (folder / "blocks.jsonl").write_text("".join(json.dumps(dict(zip(keys, line, strict=True))) + "\n" for line in lines))


def write_mask(folder: Path, **masks: list[int]) -> None:
    """Packed masks as prune/pruning/saved.py writes them."""
    save_file({name: np.packbits(np.array(mask, dtype=bool)) for name, mask in masks.items()}, folder / MASK_FILE)


def test_blocks_are_means_over_linears_and_seeds(outputs: Outputs) -> None:
    write_blocks(outputs.cell("c4", scores=ACC), [(0, 2, 4, 0.1), (0, 6, 12, 0.3), (1, 3, 4, None)])
    write_blocks(outputs.cell("c4", scores=ACC, seed=1), [(0, 4, 4, 0.4), (0, 12, 12, 0.4), (1, 1, 4, 0.5)])
    (curve,) = build_report(outputs.root).blocks
    assert curve.error == pytest.approx([0.3, 0.5])
    assert curve.sparsity == pytest.approx([0.75, 0.5])


def test_the_tokens_of_experts_by_hand(outputs: Outputs) -> None:
    """Two experts of two matrices in one block, in two seeds; the other block has none."""
    keys = {"num_zero": 1, "num_weights": 2, "error": 0.1}
    for seed, tokens in enumerate(([10, 0], [20, 4])):
        lines = [
            {
                "block": 1,
                "name": f"mlp.experts.{expert}.{kind}",
                "tokens": number,
                "statistic": ["routed", "all"][not number],
            }
            for expert, number in enumerate(tokens)
            for kind in ("up_proj", "down_proj")
        ]
        lines += [{"block": block, "name": "q_proj", "tokens": None, "statistic": None} for block in range(2)]
        folder = outputs.cell("c4", scores=ACC, seed=seed)
        (folder / "blocks.jsonl").write_text("".join(json.dumps(line | keys) + "\n" for line in lines))
    (curve,) = build_report(outputs.root).blocks
    assert list(curve.experts) == [BlockExperts(block=1, num_experts=2, lowest=0, median=7.0, highest=20, num_all=1)]


def test_damaged_blocks_are_said(outputs: Outputs) -> None:
    (outputs.cell("c4", scores=ACC) / "blocks.jsonl").write_text("{")
    report = build_report(outputs.root)
    assert list(report.blocks) == []
    assert any("blocks.jsonl of m/c4/wanda/50%/s0 or another draw is damaged" in warning for warning in report.warnings)


def test_the_masks_file_is_the_one_that_is_written() -> None:
    assert MASK_FILE == WRITTEN_MASK_FILE


def test_jaccard_by_hand(outputs: Outputs) -> None:
    first, second = outputs.cell("c4", scores=ACC), outputs.cell("gsm8k", "icl", scores=ACC)
    # 10 weights: both remove 3, either removes 7; half of the 20 bits are set in 5 + 5 of 10 + padding
    write_mask(first, a=[1, 1, 0, 0, 1, 0, 0, 0, 1, 0], b=[1, 0, 0, 0, 0, 0, 0, 0])
    write_mask(second, a=[1, 0, 1, 0, 1, 0, 0, 0, 1, 0], b=[0, 1, 0, 0, 0, 0, 0, 0])
    (overlap,) = build_report(outputs.root).mask_overlaps
    assert [list(row) for row in overlap.jaccard] == [[1.0, pytest.approx(3 / 7)], [pytest.approx(3 / 7), 1.0]]
    assert (overlap.seed, list(overlap.rows), overlap.share_compared) == (0, [0, 1], 1.0)


def test_the_share_of_random_masks() -> None:
    rng = np.random.default_rng(0)
    first, second = (np.packbits(rng.random(80_000) < 0.5) for _ in range(2))
    common = count_common(first, second)
    either = count_common(first, first) + count_common(second, second) - common
    assert common / either == pytest.approx(0.5 / 1.5, abs=0.01)


def test_the_expected_overlap_goes_by_the_sparsity(outputs: Outputs) -> None:
    for name in ("c4", "pile"):
        write_mask(outputs.cell(name, scores=ACC), a=[1, 0, 0, 0, 0, 0, 0, 1])
    (overlap,) = build_report(outputs.root).mask_overlaps
    assert overlap.expected == pytest.approx(0.25 / 1.75)


def test_masks_are_compared_within_a_group_and_a_seed(outputs: Outputs) -> None:
    mask = [1, 0, 0, 0, 0, 0, 0, 1]
    for seed in range(2):
        for name in ("c4", "pile"):
            write_mask(outputs.cell(name, scores=ACC, seed=seed), a=mask)
    write_mask(outputs.cell("c4", scores=ACC, ratio=0.7), a=mask)
    report = build_report(outputs.root)
    assert [(overlap.group, overlap.seed, len(overlap.rows)) for overlap in report.mask_overlaps] == [(0, 0, 2), (0, 1, 2)]


def test_large_masks_are_compared_in_some_linears(outputs: Outputs, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, bit in (("c4", 1), ("pile", 0)):
        write_mask(outputs.cell(name, scores=ACC), **{f"{index}": [1, bit, 0, 0, 0, 0, 0, 0] for index in range(4)})
    size = (outputs.root / "cells" / f"{1:012x}" / MASK_FILE).stat().st_size
    monkeypatch.setattr(pruning, "MAX_MASK_BYTES", 2 * size)
    (overlap,) = build_report(outputs.root).mask_overlaps
    assert overlap.share_compared == 0.5
    assert overlap.jaccard[0][1] == 0.5


@pytest.mark.parametrize("damage", [b"rubbish", None])
def test_masks_that_cannot_be_compared_are_said(outputs: Outputs, damage: bytes | None) -> None:
    write_mask(outputs.cell("c4", scores=ACC), a=[1] * 8)
    other = outputs.cell("pile", scores=ACC)
    write_mask(other, a=[1] * 24)
    if damage is not None:
        (other / MASK_FILE).write_bytes(damage)
    report = build_report(outputs.root)
    assert list(report.mask_overlaps) == []
    assert any("m wanda 50%: the saved masks cannot be compared" in warning for warning in report.warnings)
