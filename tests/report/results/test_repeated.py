"""Draws that took the same calibration set are one draw."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from prune.cell.result import UnreadableResultError, read_cell_result
from prune.report.build import build_report
from tests.report.result_files import Outputs

GOOD, BAD = [1.0, 1.0, 1.0, 0.0] * 25, [1.0, 0.0, 0.0, 0.0] * 25


def took(folder: Path, sequences: Any) -> None:
    """Say in a result which sequences its set has."""
    path = folder / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "calib": {"sequences_sha256": sequences}}))


def with_seeds(outputs: Outputs, sequences: list[str | None]) -> None:
    outputs.dense({"acc/gsm8k": GOOD})
    for seed, of_seed in enumerate(sequences):
        folder = outputs.cell("c4", scores={"acc/gsm8k": GOOD if seed % 2 else BAD}, seed=seed)
        if of_seed is not None:
            took(folder, of_seed)
    outputs.grid("sweep")


@pytest.mark.parametrize(
    ("sequences", "num_left"),
    [(["a", "a", "b"], 2), (["a", "a", "a"], 1), (["a", "b", "c"], 3), ([None, None], 2), (["a", None], 2)],
)
def test_a_set_counts_once_however_often_it_is_drawn(outputs: Outputs, sequences: list[str | None], num_left: int) -> None:
    with_seeds(outputs, sequences)
    report = build_report(outputs.root)
    assert sorted(map(len, report.rows.cells)) == sorted([1, num_left])
    said = [warning for warning in report.warnings if "gave the same calibration set" in warning]
    assert len(said) == (num_left < len(sequences))
    if said:
        assert said[0].startswith(f"{len(sequences) - num_left} result") and "m/c4/wanda/50%/s1" in said[0]


def test_two_draws_of_one_set_tell_nothing_of_the_noise_of_draws(outputs: Outputs) -> None:
    with_seeds(outputs, ["a", "a"])
    assert any("one draw only" in warning for warning in build_report(outputs.root).warnings)


def test_the_same_rows_under_another_setting_are_no_repetition(outputs: Outputs) -> None:
    outputs.dense({"acc/gsm8k": GOOD})
    for ratio in (0.5, 0.6):
        took(outputs.cell("c4", scores={"acc/gsm8k": GOOD}, ratio=ratio), "a")
    took(outputs.cell("c4", scores={"acc/gsm8k": GOOD}, method="sparsegpt"), "a")
    outputs.grid("sweep")
    report = build_report(outputs.root)
    assert list(map(len, report.rows.cells)) == [1] * 4 and not any("very same" in warning for warning in report.warnings)


def test_a_damaged_hash_is_told(outputs: Outputs) -> None:
    folder = outputs.cell("c4", scores={"acc/gsm8k": GOOD})
    assert read_cell_result(folder).sequences_sha256 is None
    took(folder, "ab")
    assert read_cell_result(folder).sequences_sha256 == "ab"
    took(folder, math.pi)
    with pytest.raises(UnreadableResultError, match="sequences_sha256 is not text"):
        read_cell_result(folder)
