import json
import math
from pathlib import Path

import pytest

from prune.cell.state import State, write_status
from prune.errors import UserError
from prune.report.build import build_report, find_stands
from prune.report.plain import SIGNIFICANT_DIGITS, to_plain
from tests.report.glance_results import write_results
from tests.report.result_files import Outputs, change_result

ACC = {"acc/gsm8k": [1, 0, 1]}


def test_the_baseline_is_c4_by_itself(outputs: Outputs) -> None:
    outputs.cell("c4", scores=ACC)
    outputs.cell("pile", scores=ACC)
    outputs.cell("pile", scores=ACC, ratio=0.7)
    report = build_report(outputs.root)
    assert report.baseline == "c4"
    assert [group.baseline_row for group in report.groups] == [0, None]
    assert "1 group without the baseline c4: m wanda 70%." in report.warnings


def test_without_c4_there_is_no_baseline_and_it_is_said(outputs: Outputs) -> None:
    outputs.cell("pile", scores=ACC)
    report = build_report(outputs.root)
    assert (report.baseline, report.groups[0].baseline_row) == ("", None)
    assert "There is no baseline: c4 is not in the data. Choose one with --baseline: pile." in report.warnings


def test_a_baseline_that_is_not_in_the_data(outputs: Outputs) -> None:
    outputs.cell("pile", scores=ACC)
    outputs.cell("gsm8k", "icl", scores=ACC)
    with pytest.raises(UserError, match=r"--baseline=c4 is not in the data\. Allowed: pile, gsm8k-icl"):
        build_report(outputs.root, baseline="c4")


def test_a_baseline_with_several_prompts_needs_one(outputs: Outputs) -> None:
    outputs.cell("gsm8k", "icl", scores=ACC)
    outputs.cell("gsm8k", "cot", scores=ACC)
    with pytest.raises(
        UserError, match=r"--baseline=gsm8k names several rows of m wanda 50%\. Allowed: gsm8k-icl, gsm8k-cot"
    ):
        build_report(outputs.root, baseline="gsm8k")
    report = build_report(outputs.root, baseline="gsm8k-cot")
    assert (report.baseline, report.groups[0].baseline_row) == ("gsm8k-cot", 1)


def test_what_is_missing_is_said_first(outputs: Outputs) -> None:
    outputs.cell("c4", scores=ACC)
    folder = outputs.cell("c4", scores=ACC, seed=1)
    (folder / "result.json").unlink()
    write_status(folder, State.failed, "RuntimeError: out of memory")
    corrupt = outputs.cell("pile", scores=ACC)
    (corrupt / "result.json").write_text("{")
    outputs.dense(ACC)
    outputs.grid("first")
    report = build_report(outputs.root)
    assert report.warnings[0].startswith(f"1 result skipped: {corrupt / 'result.json'} is damaged")
    assert report.warnings[1] == ("No result of 1 of 3 cells (1 failed): m/c4/wanda/50%/s1. Means do not include them.")
    assert list(report.rows.missing) == [(), ("m/c4/wanda/50%/s1",)]


def test_missing_cells_of_one_name_are_told_apart(outputs: Outputs) -> None:
    outputs.dense(ACC)
    outputs.cell("c4", scores=ACC)
    ids = {"a" * 12: "calib.num_samples=8", "b" * 12: "calib.num_samples=64"}
    sizes = [{**outputs.points[-1], "cell": each, "apart": apart} for each, apart in ids.items()]
    outputs.grid("sizes", sizes)
    report = build_report(outputs.root)
    name = "m/c4/wanda/50%/s0"
    assert report.warnings[0].startswith(
        f"No result of 2 of 4 cells (2 todo): {name} calib.num_samples=8, {name} calib.num_samples=64."
    )
    assert not any(report.rows.missing), "they are of other rows"


def test_one_seed_is_said(outputs: Outputs) -> None:
    outputs.cell("c4", scores=ACC)
    outputs.cell("pile", scores=ACC)
    unknown = "the noise of their draws is unknown"
    assert any(warning.startswith("Every row has one draw only") for warning in build_report(outputs.root).warnings)
    outputs.cell("pile", scores=ACC, seed=1)
    assert f"1 of 2 rows have one draw only: {unknown}." in build_report(outputs.root).warnings
    outputs.cell("c4", scores=ACC, seed=1)
    assert not any(unknown in warning for warning in build_report(outputs.root).warnings)


def test_mixed_versions_and_the_cells_own_warnings_are_said(outputs: Outputs) -> None:
    folder = outputs.cell("c4", scores=ACC)
    outputs.cell("pile", scores=ACC)
    origin = {"git": "fedcba9876543210", "dirty": True, "versions": {"torch": "2.14"}, "device": "cuda", "host": "n2"}
    origin["gpu"] = "NVIDIA H100"
    own = ["Pruned again, with other bits than earlier scores.", "acc/gsm8k: 2 of 3 items"]
    change_result(folder, provenance=origin, warnings=own)
    report = build_report(outputs.root)
    assert "Cells ran with 2 versions of torch: 2.13, 2.14." in report.warnings
    assert "Cells ran with 2 kinds of device: NVIDIA H100, cpu." in report.warnings
    assert "Cells ran with 2 commits of prune: abc, fedcba987654." in report.warnings
    assert own[0] in report.warnings
    assert own[1] not in report.warnings
    assert [(origin.num_cells, origin.dirty, origin.device, list(origin.hosts)) for origin in report.origins] == [
        (1, True, "NVIDIA H100", ["n2"]),
        (1, False, "cpu", ["n1"]),
    ]


def test_a_verdict_names_what_its_cells_do_not_share(outputs: Outputs) -> None:
    folders = [outputs.cell(name, scores=ACC) for name in ("c4", "pile", "oscar")]
    (verdict,) = build_report(outputs.root).verdicts
    assert verdict.note == ""
    alike = {"git": "abc", "dirty": False, "versions": {"torch": "2.13"}, "device": "cuda", "host": "n1"}
    for folder, gpu in zip(folders, ("NVIDIA A100", "NVIDIA H100", "NVIDIA A100"), strict=True):
        change_result(folder, provenance=alike | {"gpu": gpu})
    report = build_report(outputs.root)
    assert "Cells ran with 2 kinds of device: NVIDIA A100, NVIDIA H100." in report.warnings
    (verdict,) = report.verdicts
    assert verdict.note == "The compared cells differ in device (NVIDIA A100, NVIDIA H100)."


def test_overlaps_and_sample_data_are_told(outputs: Outputs) -> None:
    outputs.source = "sample"
    folder = outputs.cell("gsm8k", "icl", scores=ACC)
    counts = {"num_items": 3, "num_shared_rows": 1, "num_shared_ngrams": 2}
    change_result(folder, overlap={"acc/gsm8k": counts})
    report = build_report(outputs.root)
    assert report.sample_data
    (warning,) = report.overlap_warnings
    assert (warning.cell, warning.metric, warning.num_shared_rows, warning.num_shared_ngrams) == (0, 0, 1, 2)
    assert "In 1 cell, scored items share text with the calibration set." in report.warnings


def test_metrics_come_perplexities_first_then_by_category(outputs: Outputs) -> None:
    names = ["acc/rte", "acc/gsm8k", "bleu/wmt14", "acc/boolq", "ppl/wikitext2", "acc_mc/rte"]
    outputs.cell("c4", scores={name: [1, 0] for name in names})
    metrics = build_report(outputs.root).metrics
    assert [metric.name for metric in metrics] == [
        "ppl/wikitext2",
        "acc/gsm8k",
        "acc/rte",
        "acc_mc/rte",
        "acc/boolq",
        "bleu/wmt14",
    ]
    assert (metrics[3].kind, metrics[3].dataset, metrics[3].category) == ("acc_mc", "rte", "NLI")


def test_models_keep_their_own_numbers_of_items(outputs: Outputs) -> None:
    outputs.dense({"acc/rte": [1, 0], "acc/gsm8k": [1]})
    outputs.dense({"acc/rte": [1, 0, 0], "acc/gsm8k": [1]}, model="other", cell_id="e" * 12)
    report = build_report(outputs.root)
    assert {metric.name: metric.num_items for metric in report.metrics} == {"acc/gsm8k": 1, "acc/rte": None}
    told = {(protocol.model, report.metrics[protocol.metric].name): protocol.num_items for protocol in report.protocols}
    assert told[("m", "acc/rte")] == 2
    assert told[("other", "acc/rte")] == 3


def test_the_seconds_of_a_selection_stand_with_the_stages(outputs: Outputs) -> None:
    outputs.dense(ACC)
    assert "select" not in build_report(outputs.root).cells.seconds
    folder = outputs.cell("c4", scores=ACC)
    change_result(folder, calib={"seconds": {"select": 12.5}})
    seconds = build_report(outputs.root).cells.seconds
    assert sorted(seconds["select"], key=str) == [12.5, None]
    assert list(seconds)[-1] == "select"


def test_the_plain_form_is_json_without_infinity(outputs: Outputs) -> None:
    folder = outputs.dense(ACC)
    change_result(folder, seconds={"total": math.pi * 1e4, "load": 2.0}, peak_memory_mb={"host": math.inf})
    plain = to_plain(build_report(outputs.root))
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["cells"]["seconds"]["total"] == [float(f"{math.pi * 1e4:.{SIGNIFICANT_DIGITS}g}")]
    assert plain["cells"]["seconds"]["load"] == [2]
    assert plain["cells"]["seconds"]["calib"] is None  # a column in which nothing is known
    assert plain["cells"]["host_mb"] is None
    assert plain["groups"][0]["method"] == "dense"


def test_stands_are_of_rows_that_differ_beyond_draws(tmp_path: Path) -> None:
    write_results(
        tmp_path / "outputs", [("pile", None), ("random", None)], 3, shifts={"random": 0.3}, metrics=["ppl/lambada"]
    )
    report = build_report(tmp_path / "outputs")
    stands = find_stands(tmp_path / "outputs", "generated")
    names = dict(zip(report.cells.id, report.cells.name, strict=True))
    assert {(names[cell].split("/")[1], metric, stand) for (cell, metric), stand in stands.items()} == {
        ("random", "ppl/lambada", "worse")
    }
    assert len(stands) == 3, "one for each draw"


def test_one_draw_stands_nowhere(tmp_path: Path) -> None:
    write_results(tmp_path / "outputs", [("random", None)], 1, shifts={"random": 0.3})
    assert find_stands(tmp_path / "outputs", "generated") == {}
