"""What a doubling of the samples changes, against lines that were drawn by hand."""

import math

import pytest
from scipy import stats

from dev.study_contrasts import GENERAL, SETS, Contrast
from dev.study_samples import doublings_table, slopes

DRAWS = (-0.01, 0.02, 0.03)
"""What each draw adds to the change at a doubling."""


def rows_of(of_c4: float, of_gsm8k: float, of_mix: float) -> dict[str, dict[str, dict[str, float]]]:
    """Rows whose outcomes are straight lines over the doublings; the mixture's bends below 16 samples are not there."""
    changes = {
        "c4": (of_c4, (8, 16, 32, 64)),
        "gsm8k-icl": (of_gsm8k, (64, 8, 32, 16)),
        "mix_all-icl": (of_mix, (16, 32, 64)),
    }
    return {
        f"{row}, {num} samples": {
            str(draw): {
                "ppl/lambada": math.exp(4 + draw + (change + own) * math.log2(num)),
                **{f"bpb/{name}": 1 + (change + own) * math.log2(num) for name in SETS},
            }
            for draw, own in enumerate(DRAWS)
        }
        for row, (change, sizes) in changes.items()
        for num in sizes
    }


def test_a_slope_is_the_change_at_a_doubling() -> None:
    rows = rows_of(-0.1, 0.05, 0.0)
    assert slopes(rows, Contrast("c4", "c4", GENERAL), "c4") == pytest.approx([-0.11, -0.08, -0.07])
    assert slopes(rows, Contrast("gsm8k-icl", "c4", "bits, gsm8k"), "gsm8k-icl") == pytest.approx([0.04, 0.07, 0.08])


def test_a_row_is_compared_over_the_sizes_that_both_have() -> None:
    rows = rows_of(-0.1, 0.0, 0.0)
    for draw, scores in rows["c4, 8 samples"].items():
        rows["c4, 8 samples"][draw] = {**scores, "ppl/lambada": 1e6}
    assert slopes(rows, Contrast("mix_all-icl", "c4", GENERAL), "c4") == pytest.approx([-0.11, -0.08, -0.07])
    assert slopes(rows, Contrast("gsm8k-icl", "c4", GENERAL), "c4")[0] < -1


def test_the_table_has_rows_and_contrasts_with_intervals_over_draws() -> None:
    lines = doublings_table({"wanda": rows_of(-0.1, 0.05, 0.0)}).strip().splitlines()
    told = {tuple(cell.strip() for cell in line.strip("|").split("|")[:2]): line for line in lines[2:]}
    low, high = stats.t.interval(0.95, 2, -0.1 + sum(DRAWS) / 3, stats.sem(DRAWS))
    assert f"{-0.1 + sum(DRAWS) / 3:+.3f} ({low:+.3f} to {high:+.3f})" in told["c4", GENERAL]
    assert "+0.150 (" in told["gsm8k-icl - c4", "bits, gsm8k"] and "+0.100 (" in told["mix_all-icl - c4", GENERAL]
    assert len(told) == len(lines) - 2 == 8 + 5
