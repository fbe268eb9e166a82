from prune.report.build import build_report
from tests.report.result_files import Outputs

ACC = {"acc/gsm8k": [1, 0]}


def test_a_line_for_each_set_along_the_sparsity(outputs: Outputs) -> None:
    outputs.dense(ACC)
    for ratio in (0.7, 0.3, 0.5):
        outputs.cell("c4", scores=ACC, ratio=ratio)
        outputs.cell("gsm8k", "cot", scores=ACC, ratio=ratio)
    outputs.cell("pile", scores=ACC)
    (curve,) = build_report(outputs.root).curves
    assert (curve.axis, curve.model, curve.method, curve.sparsity, curve.setting) == ("sparsity", "m", "wanda", None, "")
    assert curve.dense_row == 0
    report = build_report(outputs.root)
    lines = [(report.calibs[line.calib or 0].name, line.prompt, list(line.x)) for line in curve.lines]
    assert lines == [("c4", None, [0.3, 0.5, 0.7]), ("gsm8k", "cot", [0.3, 0.5, 0.7])]
    sparsities = [report.groups[report.rows.group[row]].sparsity for row in curve.lines[0].rows]
    assert sparsities == ["30%", "50%", "70%"]


def test_methods_and_sizes_are_curves_of_their_own(outputs: Outputs) -> None:
    for num_samples in (16, 128):
        for method in ("wanda", "sparsegpt"):
            for ratio in (0.5, 0.6):
                outputs.cell("c4", scores=ACC, ratio=ratio, num_samples=num_samples, method=method)
    curves = build_report(outputs.root).curves
    told = [(curve.axis, curve.method, curve.sparsity, curve.setting, list(curve.lines[0].x)) for curve in curves]
    assert told == [
        ("sparsity", "wanda", None, "calib.num_samples=16", [0.5, 0.6]),
        ("sparsity", "sparsegpt", None, "calib.num_samples=16", [0.5, 0.6]),
        ("sparsity", "wanda", None, "calib.num_samples=128", [0.5, 0.6]),
        ("sparsity", "sparsegpt", None, "calib.num_samples=128", [0.5, 0.6]),
        ("num_samples", "wanda", "50%", "", [16, 128]),
        ("num_samples", "wanda", "60%", "", [16, 128]),
        ("num_samples", "sparsegpt", "50%", "", [16, 128]),
        ("num_samples", "sparsegpt", "60%", "", [16, 128]),
    ]


def test_one_sparsity_is_no_curve(outputs: Outputs) -> None:
    outputs.cell("c4", scores=ACC)
    outputs.cell("pile", scores=ACC, ratio=0.7)
    assert list(build_report(outputs.root).curves) == []
