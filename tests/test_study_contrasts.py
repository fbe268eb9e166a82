"""The contrasts of a study's protocol, against numbers that were worked out by hand or by scipy."""

import math
from statistics import fmean

import pytest
from scipy import stats

from dev.study_contrasts import (
    CONTRASTS,
    GENERAL,
    QUESTIONS,
    SETS,
    STUDIES,
    Contrast,
    answer,
    beside_table,
    contrast_table,
    measure,
    noise_table,
)
from prune.report.compare.statistics import unpaired_t

Cells = dict[str, dict[str, dict[str, float]]]


def scores(lambada: float, bits: float, **own: float) -> dict[str, float]:
    """The scores of a cell: each set has `bits`, but for those named."""
    return {"ppl/lambada": lambada, **{f"bpb/{name}": own.get(name, bits) for name in SETS}}


def test_the_protocol_has_sixteen_contrasts_a_method() -> None:
    assert len(CONTRASTS) == 16 == len(set(CONTRASTS))
    assert [contrast.outcome for contrast in CONTRASTS[:2]] == [GENERAL, QUESTIONS]


@pytest.mark.parametrize(
    ("one", "left"),
    [
        ("redpajama", SETS),
        ("generated", SETS),
        ("gsm8k-icl", tuple(name for name in SETS if name != "gsm8k")),
        ("c4+gsm8k-icl", tuple(name for name in SETS if name != "gsm8k")),
        ("mix_all-icl", ("piqa",)),
    ],
)
def test_questions_leave_out_what_a_side_holds(one: str, left: tuple[str, ...]) -> None:
    cell = scores(math.e, 0.0, **{name: float(number) for number, name in enumerate(SETS)})
    expected = fmean(SETS.index(name) for name in left)
    assert measure(cell, Contrast(one, "c4", QUESTIONS)) == pytest.approx(expected)
    assert measure(cell, Contrast("c4", one, QUESTIONS)) == pytest.approx(expected)
    assert measure(cell, Contrast(one, "c4", GENERAL)) == pytest.approx(1.0)
    assert measure(cell, Contrast(one, "c4", "bits, svamp")) == 1.0


def test_an_answer_is_the_reports_own() -> None:
    one, other = [2.0, 2.2, 2.7], [1.0, 1.1, 1.5, 0.9]
    sides = {"a": one, "c4": other}
    rows = {name: {str(draw): scores(9.0 + draw, bits) for draw, bits in enumerate(side)} for name, side in sides.items()}
    found = answer(rows, Contrast("a", "c4", QUESTIONS))
    assert found == unpaired_t(one, other)
    assert found.value == pytest.approx(2.3 - 1.125)
    assert found.variance == pytest.approx(0.13 / 3 + fmean([0.125**2, 0.025**2, 0.375**2, 0.225**2]) / 3)
    assert found.p > stats.ttest_ind(one, other, equal_var=False).pvalue, "Welch counts too many degrees of freedom"


def test_one_draw_is_no_answer() -> None:
    rows = {"a": {"0": scores(9.0, 1.0)}, "c4": {"0": scores(9.0, 1.0), "1": scores(9.0, 1.1)}}
    assert answer(rows, Contrast("a", "c4", QUESTIONS)) is None
    assert answer(rows, Contrast("b", "c4", QUESTIONS)) is None


def test_holm_counts_what_is_not_measured() -> None:
    rows = {
        "c4": {str(draw): scores(50.0 + draw, 1.0 + draw / 10, svamp=1.0) for draw in range(3)},
        "redpajama": {str(draw): scores(60.0 + 3 * draw, 1.2 + draw / 9, svamp=1.0) for draw in range(3)},
    }
    study = STUDIES["verdict"]
    p_values = sorted(found.p for contrast in study.contrasts if (found := answer(rows, contrast)) is not None)
    smallest, larger = p_values
    told = contrast_table(study, {"wanda": rows})
    assert f"p {32 * smallest:.3f}" in told and f"p {min(1, max(32 * smallest, 31 * larger)):.3f}" in told


def test_the_second_model_repeats_the_contrasts_that_its_rows_allow() -> None:
    told = [(contrast.one, contrast.outcome) for contrast in STUDIES["gemma"].contrasts]
    assert told == [
        *(
            (one, outcome)
            for one in ("gsm8k-icl", "mix_all-icl", "generated", "redpajama")
            for outcome in (GENERAL, QUESTIONS)
        ),
        ("gsm8k-icl", "bits, gsm8k"),
    ]


def test_the_contrasts_by_size_compare_rows_of_one_size() -> None:
    contrasts = STUDIES["samples"].contrasts
    assert {(each.one.partition(", ")[2], each.other) for each in contrasts} == {
        (f"{num} samples", f"c4, {num} samples") for num in (8, 16, 32, 64)
    }
    assert len(contrasts) == 4 * 3 + 3 * 2, "the mixture has no set of 8"
    rows = {
        f"{row}, {num} samples": {str(draw): scores(9.0, bits + draw / 50 + num, gsm8k=0.0) for draw in range(3)}
        for row, bits in (("c4", 1.0), ("gsm8k-icl", 2.0))
        for num in (8, 64)
    }
    lines = contrast_table(STUDIES["samples"], {"wanda": rows}).strip().splitlines()
    told = [line for line in lines if "bits, questions" in line and "+1.000" in line]
    assert [line.split("|")[1].strip() for line in told] == ["gsm8k-icl - c4, 8 samples", "gsm8k-icl - c4, 64 samples"]


def test_the_noise_of_each_size_stands_alone() -> None:
    rows = {
        f"{row}, {num} samples": {str(draw): scores(9.0, bits + draw * num / 100) for draw in range(2)}
        for row, bits in (("c4", 1.0), ("gsm8k-icl", 2.0))
        for num in (64, 8)
    }
    lines = noise_table({"wanda": rows}, {"wanda": rows}).strip().splitlines()
    told = {line.split("|")[1].strip(): line.split("|")[4].strip() for line in lines if "bits, questions" in line}
    assert told == {
        "Wanda, 8 samples": f"{math.sqrt(0.08**2 / 2):.3f}",
        "Wanda, 64 samples": f"{math.sqrt(0.64**2 / 2):.3f}",
    }


def test_the_table_has_a_line_a_contrast_and_marks_what_is_beyond_noise() -> None:
    rows = {
        "c4": {str(draw): scores(51.0 + draw / 2, 1.0 + draw / 1000) for draw in range(5)},
        "redpajama": {str(draw): scores(50.0 + draw, 1.5 + draw / 1000) for draw in range(5)},
    }
    lines = contrast_table(STUDIES["verdict"], {"wanda": rows}).strip().splitlines()
    assert len(lines) == 2 + len(CONTRASTS)
    (told,) = [line for line in lines if line.startswith("| redpajama - c4 | bits, questions |")]
    assert "**+0.500** (+0.498 to +0.502)" in told and "draws 5/5" in told and told.endswith("| not measured |")
    assert sum("not measured | not measured" in line for line in lines) == len(CONTRASTS) - 2


def test_two_models_stand_side_by_side_each_with_the_correction_of_its_study() -> None:
    near = {
        "c4": {str(draw): scores(51.0, 1.0 + draw / 43) for draw in range(3)},
        "redpajama": {str(draw): scores(51.0, 1.1 + draw / 43) for draw in range(3)},
    }
    (p,) = [answer(near, each).p for each in CONTRASTS if each.one == "redpajama" and each.outcome == QUESTIONS]
    one, other = STUDIES["verdict"], STUDIES["gemma"]
    assert 18 * p < 0.05 < 32 * p, "so the same cells are beyond noise in one of the studies only"
    lines = beside_table(one, {"wanda": near}, other, {"wanda": near}).strip().splitlines()
    assert lines[0] == "| contrast | outcome | Wanda, SmolLM2 | Wanda, Gemma 3 | SparseGPT, SmolLM2 | SparseGPT, Gemma 3 |"
    assert len(lines) == 2 + len(other.contrasts)
    (told,) = [line for line in lines if line.startswith("| redpajama - c4 | bits, questions |")]
    assert told.endswith("| +0.100 | **+0.100** | not measured | not measured |")


def test_noise_is_told_by_its_source() -> None:
    rows: Cells = {
        "c4": {"0": scores(math.e, 1.0), "1": scores(math.e, 1.2)},
        "c4 reversed": {"0": scores(math.e, 1.02), "1": scores(math.e, 1.2)},
        "other": {"0": scores(math.e, 2.0), "1": scores(math.e, 2.2)},
        "random": {"0": scores(math.e, 7.0), "1": scores(math.e, 9.0)},
    }
    errors = {row: dict.fromkeys(draws, scores(math.e / 10, 0.4)) for row, draws in rows.items()}
    lines = noise_table({"wanda": rows}, {"wanda": errors}).strip().splitlines()
    columns = zip(*([cell.strip() for cell in line.strip("|").split("|")] for line in lines), strict=True)
    cells = {head: numbers for head, _, *numbers in columns}
    assert cells["rounding: C4 with its samples reversed"] == ["0.000", "0.010"]
    assert cells["draws of one set"] == ["0.000", f"{math.sqrt(0.02):.3f}"]
    assert cells["items of one cell"] == ["0.100", f"{0.4 / math.sqrt(8):.3f}"]
    assert cells["sets"] == ["0.000", f"{math.sqrt(0.5 - 0.01):.3f}"]
