"""Mixtures in the report: told apart by their parts, and one line of a curve at every size."""

from pathlib import Path

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
