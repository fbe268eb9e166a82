import csv
import re
from pathlib import Path

import pyarrow.parquet
import pytest

from prune.report.build import build_report
from prune.report.model import Report
from prune.report.output.tables import cells_table, write_cells, write_tables
from tests.report.result_files import Outputs, change_result


@pytest.fixture
def report(outputs: Outputs) -> Report:
    """Dense, C4 with two seeds, GSM8K with one; two metrics, of which one is not measured everywhere."""
    outputs.dense({"acc/gsm8k": [1, 1, 1, 1], "ppl/c4": [1.0, 1.0]})
    outputs.cell("c4", scores={"acc/gsm8k": [1, 1, 0, 0], "ppl/c4": [2.0, 2.0]})
    outputs.cell("c4", scores={"acc/gsm8k": [1, 1, 1, 0], "ppl/c4": [2.0, 2.0]}, seed=1)
    outputs.cell("gsm8k", "icl", scores={"acc/gsm8k": [1, 1, 1, 1]})
    return build_report(outputs.root)


def test_a_line_for_each_cell_and_metric(report: Report) -> None:
    lines = cells_table(report).to_pylist()
    places = [(line["name"], line["metric"]) for line in lines]
    assert len(places) == len(set(places)) == 7
    line = lines[places.index(("m/c4/wanda/50%/s1", "acc/gsm8k"))]
    expected = {
        "cell": f"{2:012x}",
        "model": "m",
        "calib": "c4",
        "category": "pre-training",
        "prompt": None,
        "method": "wanda",
        "sparsity": "50%",
        "seed": 1,
        "kind": "acc",
        "dataset": "gsm8k",
        "dataset_category": "arithmetic",
        "higher_is_better": True,
        "value": 0.75,
        "num_items": 4,
        "row_mean": 0.625,
        "row_rank": 2,
        "row_to_dense_difference": -0.375,
        "row_to_baseline_difference": None,
        "seconds_total": 10.0,
        "host_mb": 100.0,
    }
    assert {key: line[key] for key in expected} == expected


def test_csv_and_parquet_hold_the_same(report: Report, tmp_path: Path) -> None:
    write_cells(report, tmp_path)
    from_parquet = pyarrow.parquet.read_table(tmp_path / "cells.parquet").to_pylist()
    with (tmp_path / "cells.csv").open() as stream:
        from_csv = list(csv.DictReader(stream))
    assert from_parquet == cells_table(report).to_pylist()
    assert [line["name"] for line in from_csv] == [line["name"] for line in from_parquet]
    assert [float(line["value"]) for line in from_csv] == [line["value"] for line in from_parquet]
    assert from_csv[0]["calib"] == ""


def test_tables_in_markdown(report: Report, tmp_path: Path) -> None:
    write_tables(report, tmp_path)
    assert (tmp_path / "tables.md").read_text() == (
        "### m wanda 50%: ppl\n\n"
        "| calibration | c4 |\n|---|---|\n"
        "| dense | 2.72 |\n| c4 | **7.39 ± 0.00** |\n| gsm8k-icl | - |\n\n"
        "### m wanda 50%: acc\n\n"
        "| calibration | gsm8k |\n|---|---|\n"
        "| dense | 1.000 |\n| c4 | 0.625 ± 0.177 |\n| gsm8k-icl | **1.000** |\n"
    )


def test_tables_in_latex(report: Report, tmp_path: Path) -> None:
    write_tables(report, tmp_path)
    text = (tmp_path / "tables.tex").read_text()
    assert "% m wanda 50%: acc\n\\begin{tabular}{lr}\n\\toprule\ncalibration & gsm8k \\\\\n\\midrule\n" in text
    assert "c4 & 0.625 $\\pm$ 0.177 \\\\\ngsm8k-icl & \\textbf{1.000} \\\\\n\\bottomrule\n\\end{tabular}\n" in text


def test_names_are_escaped_for_latex(outputs: Outputs, tmp_path: Path) -> None:
    outputs.cell("commonsense_qa", "zero_shot", scores={"acc/commonsense_qa": [1, 0]})
    write_tables(build_report(outputs.root), tmp_path)
    text = (tmp_path / "tables.tex").read_text()
    assert "calibration & commonsense\\_qa \\\\" in text
    assert "commonsense\\_qa-zero\\_shot & \\textbf{0.500} \\\\" in text


@pytest.mark.parametrize("name", ["=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_name_becomes_a_formula_in_a_spreadsheet(outputs: Outputs, tmp_path: Path, name: str) -> None:
    folder = outputs.cell("c4", scores={"acc/rte": [1, 0], "ppl/c4": [1.0, -2.0]}, model=name)
    change_result(folder, name=name)
    write_cells(build_report(outputs.root), tmp_path)
    with (tmp_path / "cells.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert {line["name"] for line in lines} == {line["model"] for line in lines} == {f"'{name}"}
    texts = [text for line in lines for key, text in line.items() if not _is_number(text)]
    assert not [text for text in texts if text[:1] in "=+-@\t\r" and text]
    from_parquet = pyarrow.parquet.read_table(tmp_path / "cells.parquet").to_pylist()
    assert from_parquet[0]["name"] == name


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", ["a|b", "a\nb", "<script>", "[x](javascript:y)", "*a*", "`a`", "_a_", "a\\|b", "![x](y)"])
def test_markup_in_names_is_text_in_markdown(outputs: Outputs, tmp_path: Path, name: str) -> None:
    for calib in (name, "c4"):
        outputs.cell(calib, scores={f"acc/{name}": [1, 0]}, model=name)
    write_tables(build_report(outputs.root), tmp_path)
    text = (tmp_path / "tables.md").read_text()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(text.splitlines()) == 6 and len(table) == 4
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3 for line in table), table
    plain = re.sub(r"\\([\\`*|<>\[\]~&#!_])", "", text.replace("**", ""))
    assert not re.search(r"[`*<>\[\]]|\b_|_\b", plain.replace("\\*", "")), text


def test_a_star_in_brackets_marks_what_is_beyond_the_noise_of_items(outputs: Outputs, tmp_path: Path) -> None:
    outputs.cell("c4", scores={"acc/rte": [0] * 20})
    outputs.cell("pile", scores={"acc/rte": [1] * 20})
    outputs.cell("oscar", scores={"acc/rte": [1] + [0] * 19})
    write_tables(build_report(outputs.root), tmp_path)
    text = (tmp_path / "tables.md").read_text()
    assert "| pile | **1.000**(\\*) |" in text
    assert "| oscar | 0.050 |" in text


def test_dense_cells_alone_make_a_table(outputs: Outputs, tmp_path: Path) -> None:
    outputs.dense({"acc/rte": [1, 0]})
    write_tables(build_report(outputs.root), tmp_path)
    assert "| dense | **0.500** |" not in (tmp_path / "tables.md").read_text()
    assert "| dense | 0.500 |" in (tmp_path / "tables.md").read_text()
