"""What rounding alone does: measured by bench/rounding.py, told by the report of the same model, method and sparsity."""

import json
import math
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from prune.errors import UserError
from prune.report.build import build_report
from prune.report.findings.rounding import FILE, Rounding, Run, read_rounding
from tests.report.result_files import Outputs

LOSS = {"ppl/c4": [2.0, 3.0]}


def measured(*perplexities: float, model: str = "m", method: str = "wanda", sparsity: str = "50%") -> Rounding:
    runs = [Run(f"run {n}", n + 1, False, math.log(value), 0.01 * n) for n, value in enumerate(perplexities)]
    return Rounding(model, method, sparsity, "ppl/wikitext2", 16, 512, runs)


def write(outputs: Outputs, *several: Rounding) -> None:
    (outputs.root / FILE).write_text(json.dumps({"measured": [asdict(one) for one in several]}))


def told(outputs: Outputs) -> list[str]:
    return [warning for warning in build_report(outputs.root).warnings if "ounding" in warning]


def test_a_measurement_is_told_where_its_model_method_and_sparsity_are(outputs: Outputs) -> None:
    outputs.cell("c4", scores=LOSS)
    assert told(outputs) == []
    others = [measured(20, 30, model="n"), measured(20, 30, method="sparsegpt"), measured(20, 30, sparsity="2:4")]
    write(outputs, *others, measured(80, 82, 81))
    assert told(outputs) == [
        "Rounding alone moves ppl/wikitext2 of wanda at 50% on m between 80 and 82, by 2.5 % (one calibration set of 16 x "
        "512 tokens, 3 batch sizes and orders; up to 2 % of the weights are in one mask only). A smaller difference between "
        "two single runs is within the noise of rounding; the spread over draws contains it."
    ]


def test_what_rounding_does_not_move_is_not_told(outputs: Outputs) -> None:
    outputs.cell("c4", scores=LOSS)
    write(outputs, measured(80, 80.0001))
    assert told(outputs) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"measured": [{}]}', '{"measured": [{"runs": 3}]}', '{"runs": []}'])
def test_a_damaged_file_costs_no_report(text: str, outputs: Outputs) -> None:
    outputs.cell("c4", scores=LOSS)
    (outputs.root / FILE).write_text(text)
    assert len(told(outputs)) == 1 and "rounding.json is damaged" in told(outputs)[0]
    with pytest.raises(UserError, match="damaged"):
        read_rounding(outputs.root / FILE)


@pytest.mark.slow
def test_the_bench_measures_the_embedded_model(tmp_path: Path) -> None:
    """A method that is measured again replaces its line."""
    small = ["--samples", "2", "--length", "32", "--chunks", "1", "--threads", "1", "--methods", "wanda,sparsegpt,wanda"]
    line = [sys.executable, "-m", "bench.rounding", *small, "--out", str(tmp_path / FILE)]
    subprocess.run(line, cwd=Path(__file__).parents[3], check=True, capture_output=True, timeout=300)
    found = read_rounding(tmp_path / FILE)
    assert [one.place for one in found] == [("tiny", "sparsegpt", "50%"), ("tiny", "wanda", "50%")]
    for one in found:
        assert [run.batch_size for run in one.runs] == [8, 4, 1, 8]
        assert [run.is_reversed for run in one.runs] == [False, False, False, True]
        assert one.runs[0].mask_difference == 0 and one.spread < 0.1


def test_the_measurements_that_are_kept_can_be_read() -> None:
    places = [one.place for one in read_rounding(Path(__file__).parents[3] / "bench" / "results" / FILE)]
    assert ("smollm2", "sparsegpt", "50%") in places and len(set(places)) == len(places)
