"""Mixtures in the report: told apart by their parts, and one line of a curve at every size."""

from pathlib import Path

import pytest

from prune.config.mixture import part_counts
from prune.report.build import build_report
from tests.report.glance_results import give_parts
from tests.report.result_files import Outputs

ACC = {"acc/gsm8k": [1, 0]}


def test_mixtures_of_one_name_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    outputs.dense(ACC)
    give_parts(outputs.cell("mix", scores=ACC), c4=100, gsm8k=28)
    give_parts(outputs.cell("mix", scores=ACC), c4=99, gsm8k=28, rte=1)
    outputs.grid("s")
    report = build_report(outputs.root)
    assert sorted(knobs for knobs in report.rows.knobs if knobs) == [
        "calib.parts.c4=100",
        "calib.parts.c4=99 calib.parts.rte=1",
    ]


def test_a_mixture_is_one_line_along_its_size(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    outputs.dense(ACC)
    for num_samples in (16, 128):
        quarter = num_samples // 4
        name = "c4:0.25+gsm8k:0.75"
        give_parts(outputs.cell(name, scores=ACC, num_samples=num_samples), c4=quarter, gsm8k=3 * quarter)
        give_parts(outputs.cell("c4+gsm8k", scores=ACC, num_samples=num_samples), c4=2 * quarter, gsm8k=2 * quarter)
    outputs.grid("s")
    report = build_report(outputs.root)
    (curve,) = [curve for curve in report.curves if curve.axis == "num_samples"]
    assert [report.calibs[line.calib or 0].name for line in curve.lines] == ["c4+gsm8k", "c4:0.25+gsm8k:0.75"]
    assert [list(line.x) for line in curve.lines] == [[16, 128]] * 2


@pytest.mark.parametrize(("parts", "sizes"), [(2, [7, 8]), (3, [16, 32, 64]), (13, [16, 32, 64])])
def test_equal_parts_are_one_line_where_a_sequence_cannot_be_cut(tmp_path: Path, parts: int, sizes: list[int]) -> None:
    outputs = Outputs(tmp_path)
    outputs.dense(ACC)
    asked = dict.fromkeys(f"set{number}" for number in range(parts))
    for num_samples in sizes:
        give_parts(outputs.cell("mix", scores=ACC, num_samples=num_samples), **part_counts(asked, num_samples))
        give_parts(outputs.cell("odd", scores=ACC, num_samples=num_samples), set0=num_samples - 2, set1=2)
    outputs.grid("s")
    report = build_report(outputs.root)
    (curve,) = [curve for curve in report.curves if curve.axis == "num_samples"]
    assert [(report.calibs[line.calib or 0].name, list(line.x)) for line in curve.lines] == [("mix", sizes)]
