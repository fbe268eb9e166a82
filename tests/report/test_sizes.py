import json
import math
from pathlib import Path

import pytest

from bench.report import METRICS, generate
from prune.report.build import build_report
from prune.report.output.tables import cells_table, write_tables
from prune.report.plain import to_plain
from tests.report.result_files import Outputs


def test_a_thousand_cells(tmp_path: Path) -> None:
    """10,000 cells have 30 MB of JSON before it is packed; bench/report.py has the seconds."""
    generate(tmp_path / "outputs", 1000, 1, with_items=False)
    report = build_report(tmp_path / "outputs")
    assert len(report.cells.id) > 1000
    assert len(report.metrics) == len(METRICS) == 20
    assert len(json.dumps(to_plain(report), separators=(",", ":"))) < 3e6


def test_cells_without_any_score(outputs: Outputs, tmp_path: Path) -> None:
    outputs.dense({})
    outputs.cell("c4", scores={})
    report = build_report(outputs.root)
    assert (len(report.cells.id), report.metrics, report.verdicts) == (2, [], [])
    write_tables(report, tmp_path)
    assert cells_table(report).num_rows == 0
    assert [question.enough for question in report.questions] == [False] * 4


def test_items_beyond_every_number_stay_out_of_the_page(outputs: Outputs) -> None:
    outputs.cell("c4", scores={"ppl/c4": [600.0, 700.0]})
    outputs.cell("pile", scores={"ppl/c4": [1.0, 700.0]})
    plain = json.loads(json.dumps(to_plain(build_report(outputs.root)), allow_nan=False))
    (metric,) = plain["rows"]["metrics"]
    assert metric["mean"] == [pytest.approx(math.exp(650), rel=1e-3), pytest.approx(math.exp(350.5), rel=1e-3)]
    assert metric["rank"] == [2, 1]
