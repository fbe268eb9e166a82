import json
from pathlib import Path

import pytest

from prune.cell.knobs import read_knobs
from prune.cell.state import State, write_status
from prune.errors import UserError
from prune.report.results.protocols import check_protocols
from prune.report.results.read import read_results
from tests.report.result_files import DENSE_ID, Outputs, change_result, to_yaml

ACC = {"acc/gsm8k": [1, 0, 1, 1]}


def test_results_are_read_dense_first(outputs: Outputs) -> None:
    outputs.cell("c4", scores=ACC)
    outputs.dense(ACC)
    found = read_results(outputs.root)
    assert [result.name for result in found.results] == ["m/dense", "m/c4/wanda/50%/s0"]
    assert found.results[0].is_dense
    assert found.results[1].scores["acc/gsm8k"].value == 0.75
    assert found.results[1].knobs["calib.num_samples"] == 128
    assert found.unfinished == []


def test_the_knobs_are_the_canonical_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    canonical = {"format": 1, "model": {"name": "m", "path": None}, "calib": {"prompt": {"separator": "\n\n"}, "seed": 3}}
    path.write_text(to_yaml({"canonical": canonical, "asked": {"model": {"seq_len": 7}}}))
    expected = {"format": 1, "model.name": "m", "model.path": None, "calib.prompt.separator": "\n\n", "calib.seed": 3}
    assert dict(read_knobs(path)) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"schema": 2, "cell"', "is damaged"),
        ("[1]", "is damaged"),
        ('{"schema": 2}', "cell is missing"),
        ("\xff", "is damaged"),
    ],
)
def test_a_corrupt_result_is_named_and_skipped(outputs: Outputs, text: str, said: str) -> None:
    outputs.dense(ACC)
    folder = outputs.cell("c4", scores=ACC)
    (folder / "result.json").write_bytes(text.encode("latin-1"))
    found = read_results(outputs.root)
    assert [result.name for result in found.results] == ["m/dense"]
    (skipped,) = found.unfinished
    assert (skipped.id, skipped.state) == (folder.name, "corrupt")
    assert str(folder / "result.json") in skipped.reason
    assert said in skipped.reason


def test_a_result_of_another_schema_is_skipped_with_its_version(outputs: Outputs) -> None:
    outputs.dense(ACC)
    change_result(outputs.cell("c4", scores=ACC), schema=3)
    (skipped,) = read_results(outputs.root).unfinished
    assert skipped.state == "schema"
    assert "has schema 3; this version of prune reads 2" in skipped.reason


def test_a_result_without_its_configuration_is_skipped(outputs: Outputs) -> None:
    outputs.dense(ACC)
    (outputs.cell("c4", scores=ACC) / "config.yaml").unlink()
    (skipped,) = read_results(outputs.root).unfinished
    assert skipped.state == "corrupt"
    assert "config.yaml is missing" in skipped.reason


def test_failed_and_missing_cells_are_named_with_their_reason(outputs: Outputs) -> None:
    outputs.dense(ACC)
    failed = outputs.cell("c4", scores=ACC)
    (failed / "result.json").unlink()
    write_status(failed, State.failed, "UserError: the disk is full.")
    todo = {"cell": "0" * 12, "dense_cell": DENSE_ID, "name": "m/pile/wanda/50%/s0", "not_applicable": None}
    outputs.grid("first", [todo, {**todo, "cell": None, "name": "m/rte-cot", "not_applicable": "rte has no rationales."}])
    found = read_results(outputs.root, "first")
    told = [(cell.name, cell.state, cell.reason, cell.sweep) for cell in found.unfinished]
    assert told == [
        ("m/c4/wanda/50%/s0", "failed", "the disk is full.", "first"),
        ("m/pile/wanda/50%/s0", "todo", "the cell has not run yet", "first"),
        ("m/rte-cot", "not applicable", "rte has no rationales.", "first"),
    ]


def test_only_the_cells_of_a_sweep(outputs: Outputs) -> None:
    outputs.dense(ACC)
    outputs.cell("c4", scores=ACC)
    outputs.grid("first")
    outputs.cell("pile", scores=ACC)
    assert [result.axes["calib"] for result in read_results(outputs.root, "first").results] == [None, "c4"]
    assert [result.axes["calib"] for result in read_results(outputs.root).results] == [None, "c4", "pile"]
    with pytest.raises(UserError, match=r"has no sweep frist\. Did you mean first\? Allowed: first"):
        read_results(outputs.root, "frist")


def test_only_the_cells_of_a_model(outputs: Outputs) -> None:
    outputs.dense(ACC)
    outputs.dense(ACC, model="other", cell_id="e" * 12)
    assert [result.name for result in read_results(outputs.root, model="other").results] == ["other/dense"]
    with pytest.raises(UserError, match=r"--model=othr is in no result\. Did you mean other\? Allowed: m, other"):
        read_results(outputs.root, model="othr")


def test_no_cells_at_all(outputs: Outputs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no results yet"):
        read_results(outputs.root)
    with pytest.raises(UserError, match=r"nowhere holds no cells\. Pass the output_dir"):
        read_results(tmp_path / "nowhere")


def test_only_failed_cells(outputs: Outputs) -> None:
    folder = outputs.cell("c4", scores=ACC)
    (folder / "result.json").unlink()
    write_status(folder, State.failed, "RuntimeError: CUDA out of memory")
    outputs.grid("first")
    with pytest.raises(UserError) as error:
        read_results(outputs.root)
    assert "holds no usable result. Its cells:" in str(error.value)
    assert "m/c4/wanda/50%/s0 failed: RuntimeError: CUDA out of memory" in str(error.value)


def test_a_damaged_grid(outputs: Outputs) -> None:
    outputs.dense(ACC)
    outputs.grid("first")
    (outputs.root / "sweeps" / "first" / "grid.jsonl").write_text("{")
    found = read_results(outputs.root)
    assert [result.name for result in found.results] == ["m/dense"]
    (problem,) = found.damaged
    assert problem.startswith(
        f"{outputs.root / 'sweeps' / 'first' / 'grid.jsonl'} is damaged (1 of its 1 lines left out; line 1:"
    )
    with pytest.raises(UserError, match=r"holds no results yet.*grid\.jsonl is damaged"):
        read_results(outputs.root, "first")


def test_two_protocols_of_one_metric_are_refused(outputs: Outputs) -> None:
    outputs.dense(ACC)
    outputs.grid("first")
    outputs.cell("c4", scores={"acc/gsm8k": [1, 0]}, protocol={"num_fewshot": 5})
    outputs.grid("second")
    found = read_results(outputs.root)
    with pytest.raises(UserError) as error:
        check_protocols(found.results, found.sweeps)
    assert "acc/gsm8k: num_fewshot=None num_items=4 in m/dense; num_fewshot=5 num_items=2 in m/c4/wanda/50%/s0" in str(
        error.value
    )
    assert "Choose one sweep (--sweep first or --sweep second) or metrics" in str(error.value)


def test_the_other_metrics_can_still_be_reported(outputs: Outputs) -> None:
    outputs.dense({**ACC, "ppl/c4": [1.0, 2.0]})
    outputs.cell("c4", scores={"acc/gsm8k": [1, 0], "ppl/c4": [1.0, 2.0]})
    found = read_results(outputs.root, metrics=["ppl/c4"])
    assert list(check_protocols(found.results, found.sweeps)) == [(DENSE_ID, "ppl/c4")]
    with pytest.raises(
        UserError, match=r"--metric=ppl/c5 is in no result\. Did you mean ppl/c4\? Allowed: acc/gsm8k, ppl/c4"
    ):
        read_results(outputs.root, metrics=["ppl/c5"])


def test_batch_size_and_versions_do_not_make_another_protocol(outputs: Outputs) -> None:
    outputs.dense(ACC)
    outputs.cell("c4", scores=ACC, protocol={"batch_size": 1, "lm_eval": "0.4.12", "parsed_share": 0.5})
    found = read_results(outputs.root)
    protocols = check_protocols(found.results, found.sweeps)
    assert protocols == {(DENSE_ID, "acc/gsm8k"): {"kind": "test", "num_items": 4}}


def test_models_may_differ_in_their_protocols(outputs: Outputs) -> None:
    outputs.dense(ACC)
    outputs.dense({"acc/gsm8k": [1, 0]}, model="other", cell_id="e" * 12)
    found = read_results(outputs.root)
    assert len(check_protocols(found.results, found.sweeps)) == 2


def test_shared_items_are_kept_where_there_are_any(outputs: Outputs) -> None:
    none = {"num_items": 4, "num_shared_rows": 0, "num_shared_ngrams": 0}
    folder = outputs.dense(ACC)
    change_result(folder, overlap={"acc/gsm8k": none, "acc/svamp": none | {"num_shared_ngrams": 2}})
    (result,) = read_results(outputs.root).results
    assert list(result.overlap) == ["acc/svamp"]
    assert json.loads((folder / "result.json").read_text())["overlap"]["acc/svamp"] == result.overlap["acc/svamp"]
