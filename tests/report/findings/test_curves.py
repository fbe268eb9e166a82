from prune.report.build import build_report
from tests.report.glance_results import change_set
from tests.report.result_files import Outputs, change_result

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


def test_samples_and_lengths_meet_at_their_real_tokens(outputs: Outputs) -> None:
    """2 x 64 and 4 x 32 tokens are one x; a set whose sequences are half padding is at half as many."""
    for num_samples, seq_len in ((2, 64), (4, 32), (4, 64)):
        for calib, share in (("c4", 1.0), ("gsm8k", 0.5)):
            folder = outputs.cell(calib, scores=ACC, num_samples=num_samples)
            change_set(folder, seq_len=seq_len)
            change_result(folder, calib={"num_real_tokens": share * num_samples * seq_len})
    report = build_report(outputs.root)
    (curve,) = [curve for curve in report.curves if curve.axis == "tokens"]
    assert [list(line.x) for line in curve.lines] == [[128, 128, 256], [64, 64, 128]]


def test_lengths_alone_make_no_curve_of_tokens(outputs: Outputs) -> None:
    for seq_len in (32, 64):
        folder = outputs.cell("c4", scores=ACC)
        change_set(folder, seq_len=seq_len)
        change_result(folder, calib={"num_real_tokens": 128 * seq_len})
    assert [curve.axis for curve in build_report(outputs.root).curves] == ["seq_len"]
