"""Two calibration sets of one setting are compared, whatever identifies their rows: on a real line, to the verdict."""

from pathlib import Path

from prune.report.build import build_report
from prune.report.results.join import join_cells
from prune.report.results.read import read_results

from ..conftest import RunLine
from .result_files import Outputs

LINE = (
    *("-m", "calib=c4,gsm8k,random", "calib.seed=0,1", "calib.num_samples=2", "calib.seq_len=64", "method=magnitude,wanda"),
    *("eval=perplexity", "eval.perplexity=[c4]", "eval.num_chunks=2", "eval.seq_len=64", "tracker=none", "device=cpu"),
)


def test_a_real_line_is_one_group_a_method_and_has_its_verdict(run_line: RunLine, tmp_path: Path) -> None:
    said = run_line(*LINE)
    assert said.returncode == 0, said.stderr
    results = read_results(tmp_path / "outputs").results
    rows = {result.knobs["calib.rows"] for result in results if result.axes["calib"] in ("c4", "gsm8k")}
    assert len(rows) == 2, "text comes from the documentation of this Python, questions do not"
    joined = join_cells(results, [])
    groups = {group.method: [joined.rows[row].label for row in group.rows] for group in joined.groups}
    assert groups == {"dense": [""], "magnitude": [""], "wanda": ["c4", "gsm8k-icl", "random"]}
    report = build_report(tmp_path / "outputs")
    (wanda,) = (index for index, group in enumerate(report.groups) if group.method == "wanda")
    baseline = report.groups[wanda].baseline_row
    assert baseline is not None and joined.rows[baseline].label == "c4"
    assert any(verdict.group == wanda for verdict in report.verdicts)


def test_rows_that_changed_between_seeds_are_no_seeds_of_one_row(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    outputs.dense({"acc/gsm8k": [0, 1, 1]})
    for seed in (0, 1):
        outputs.cell("c4", scores={"acc/gsm8k": [0, 1, 0]}, seed=seed, rows=f"before{seed // 2}")
    outputs.cell("c4", scores={"acc/gsm8k": [0, 0, 0]}, seed=2, rows="after")
    outputs.cell("pile", scores={"acc/gsm8k": [0, 1, 0]}, seed=0, rows="others")
    joined = join_cells(read_results(tmp_path).results, [])
    groups = [[(joined.rows[row].label, len(joined.rows[row].cells)) for row in group.rows] for group in joined.groups]
    assert sorted(groups[1]) == [("c4 calib.rows=after", 1), ("c4 calib.rows=before0", 2), ("pile", 1)]
