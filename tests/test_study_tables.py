"""The tables that a study's page holds, against numbers written by hand."""

import csv
import math
from pathlib import Path

import pytest

from dev.study_tables import fill_in, headline_of, make_tables, questions_of, read_cells

COLUMNS = (
    "cell",
    "method",
    "sparsity",
    "calib",
    "prompt",
    "select",
    "weight",
    "draw",
    "metric",
    "value",
    "knobs",
    "name",
    "setting",
)
CELLS: "Cells" = {
    ("d", "dense", "", "", "", "", "", ""): {"ppl/c4": 10.0, "bpb/a": 1.0, "bpb/b": 2.0},
    ("1", "wanda", "60%", "c4", "", "", "", ""): {"ppl/c4": 20.0, "bpb/a": 2.0, "bpb/b": 3.0},
    ("2", "wanda", "60%", "c4", "", "", "", "1"): {"ppl/c4": 80.0, "bpb/a": 2.2, "bpb/b": 3.0},
    ("3", "wanda", "60%", "c4", "", "zipf", "", "1"): {"ppl/c4": 30.0, "bpb/a": 2.1, "bpb/b": 2.9},
    ("4", "sparsegpt", "60%", "c4", "", "", "", ""): {"ppl/c4": 15.0, "bpb/a": 1.5, "bpb/b": 2.5},
    ("5", "wanda", "50%", "c4", "", "", "", ""): {"ppl/c4": 12.0, "bpb/a": 1.25, "bpb/b": 2.25},
}


Cells = dict[tuple[str, ...], dict[str, float]]


def written(folder: Path, cells: Cells = CELLS) -> Path:
    with (folder / "cells.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for cell, scores in cells.items():
            *axes, knobs, of_cell, setting = (*cell, "", "", "")[: len(COLUMNS) - 2]
            writer.writerows([*axes, name, value, knobs, of_cell, setting] for name, value in scores.items())
    return folder / "cells.csv"


def test_a_table_for_each_method_and_sparsity(tmp_path: Path) -> None:
    lines = make_tables(written(tmp_path)).splitlines()
    assert [line for line in lines if line.startswith("**")] == ["**Wanda, 60 %**", "**SparseGPT, 60 %**", "**Wanda, 50 %**"]
    heads, _, dense, c4, zipf = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[3:8])
    assert heads == ["calibration", "c4", "a", "b", "mean bits", "to C4, draw by draw"]
    assert dense == ["dense", "10.0", "1.000", "2.000", "1.500", ""]
    assert c4 == ["c4", f"{math.sqrt(20 * 80):.1f}", "2.100", "3.000", "2.550", ""]
    assert zipf == ["c4-zipf", "30.0", "2.100", "2.900", "2.500", f"{2.5 - (2.2 + 3.0) / 2:+.3f}"]


def test_what_else_tells_a_row_apart_is_in_its_name_and_no_cell_takes_anothers_place(tmp_path: Path) -> None:
    of_c4, scores = ("wanda", "60%", "c4", "", "", "", "1"), {"ppl/c4": 81.0}
    groups, _ = read_cells(written(tmp_path, {("2", *of_c4, ""): scores, ("6", *of_c4, "reversed"): {"ppl/c4": 82.0}}))
    assert groups["wanda", "60%"] == {"c4": {"1": scores}, "c4 reversed": {"1": {"ppl/c4": 82.0}}}
    both = {(cell, *of_c4, "", "m/c4/s0d1", "calib.num_samples=8"): scores for cell in ("2", "7")}
    with pytest.raises(ValueError, match=r"m/c4/s0d1 is there twice \(calib.num_samples=8\)"):
        read_cells(written(tmp_path, both))


def test_sizes_stand_in_the_names_of_rows_and_each_is_compared_with_c4_of_its_size(tmp_path: Path) -> None:
    bits = {(16, "c4"): 2.0, (8, "c4"): 2.5, (16, "pile"): 2.1, (8, "pile"): 2.4}
    cells: Cells = {("d", "dense", "", "", "", "", "", ""): {"ppl/c4": 10.0, "bpb/a": 1.0}}
    for (num, calib), value in bits.items():
        row = (f"{calib}{num}", "wanda", "50%", calib, "", "", "", "", "", f"m/{calib}", f"calib.num_samples={num}")
        cells[row] = {"ppl/c4": 20.0, "bpb/a": value}
    lines = make_tables(written(tmp_path, cells)).strip().splitlines()
    told = [(line.strip("|").split("|")[0].strip(), line.strip("|").split("|")[-1].strip()) for line in lines[5:]]
    assert told == [
        ("c4, 8 samples", ""),
        ("c4, 16 samples", ""),
        ("pile, 8 samples", "-0.100"),
        ("pile, 16 samples", "+0.100"),
    ]


def test_a_headline_is_taken_with_its_reservations() -> None:
    words = "Data for m   3 cells\nStay with c4.\n  2 draws of each set.\n  Averaged without: b\n! A warning\n  more\n"
    assert headline_of(words) == "Stay with c4. 2 draws of each set. Averaged without: b."


def test_a_page_is_filled_in_at_its_places_alone() -> None:
    page = "before\n<!-- tables -->\nold\n<!-- end -->\nafter\n"
    assert fill_in(page, "tables", "new \\1") == "before\n<!-- tables -->\nnew \\1\n<!-- end -->\nafter\n"
    with pytest.raises(ValueError, match="0 times"):
        fill_in(page, "headline", "new")


def test_the_reports_questions_stand_with_their_answers_and_nothing_else_does() -> None:
    words = "Stay with c4.\n  2 draws.\nIs C4 best?\n  Not shown.\n  +0.1.\nReport: page\nWhich?\n  None.\n! What? 3 cells\n"
    assert questions_of(words) == "\n- *Is C4 best?* Not shown. +0.1.\n- *Which?* None.\n"
