import itertools

import pytest

from prune.cell.state import State, write_status
from prune.report.build import build_report
from prune.report.format import row_label
from prune.report.results.join import Joined, calibration_sets, category_of, join_cells
from prune.report.results.read import read_results
from tests.report.result_files import DENSE_ID, Outputs

ACC = {"acc/gsm8k": [1, 0, 1, 1]}


def joined(outputs: Outputs) -> Joined:
    found = read_results(outputs.root)
    return join_cells(found.results, found.unfinished)


def test_cells_that_differ_only_in_the_seed_are_one_row(outputs: Outputs) -> None:
    outputs.dense(ACC)
    for seed in (1, 0):
        outputs.cell("gsm8k", "icl", scores=ACC, seed=seed)
        outputs.cell("gsm8k", "cot", scores=ACC, seed=seed)
        outputs.cell("c4", scores=ACC, seed=seed)
    found = joined(outputs)
    assert [(row.label, row.group, list(row.cells)) for row in found.rows] == [
        ("", 0, [0]),
        ("c4", 1, [6, 3]),
        ("gsm8k-icl", 1, [4, 1]),
        ("gsm8k-cot", 1, [5, 2]),
    ]
    dense, pruned = found.groups
    assert (dense.label, dense.dense_row, list(dense.rows)) == ("m dense", 0, [0])
    assert (pruned.label, pruned.dense_row, list(pruned.rows)) == ("m wanda 50%", 0, [1, 2, 3])


def test_groups_are_told_apart_by_the_knobs_that_differ(outputs: Outputs) -> None:
    outputs.cell("c4", scores=ACC, num_samples=64)
    outputs.cell("c4", scores=ACC, num_samples=128)
    outputs.cell("c4", scores=ACC, num_samples=128, ratio=0.7)
    assert [group.label for group in joined(outputs).groups] == [
        "m wanda 50% calib.num_samples=64",
        "m wanda 50% calib.num_samples=128",
        "m wanda 70%",
    ]


def test_cells_by_inputs_of_dense_blocks_are_a_group_of_their_own(outputs: Outputs) -> None:
    """The published way is not named in a canonical configuration, as ids of before would change."""
    outputs.cell("c4", scores=ACC)
    outputs.cell("c4", scores=ACC, method_knobs={"propagation": "dense"})
    found = joined(outputs)
    assert [group.label for group in found.groups] == ["m wanda 50%", "m wanda 50% method.propagation=dense"]
    assert [list(row.cells) for row in found.rows] == [[0], [1]]


def test_rows_are_told_apart_by_the_prompts_knobs(outputs: Outputs) -> None:
    for num_shots in (2, 4):
        outputs.cell("gsm8k", "icl", scores=ACC, prompt_knobs={"num_shots": num_shots})
    outputs.cell("svamp", "icl", scores=ACC, prompt_knobs={"num_shots": 4})
    labels = [row.label for row in joined(outputs).rows]
    assert labels == ["gsm8k-icl prompt.num_shots=2", "gsm8k-icl prompt.num_shots=4", "svamp-icl"]


def test_models_of_the_same_name_on_other_data_are_other_groups(outputs: Outputs) -> None:
    outputs.cell("c4", scores=ACC)
    outputs.source = "local"
    outputs.cell("c4", scores=ACC, dense_id="e" * 12)
    assert [group.setting for group in joined(outputs).groups] == ["data=hub", "data=local"]


def test_a_row_knows_its_missing_seeds(outputs: Outputs) -> None:
    outputs.cell("c4", scores=ACC, seed=0)
    names = ["m/c4/wanda/50%/s1", "m/pile/wanda/50%/s0"]
    points = [
        {"cell": f"{i}" * 12, "dense_cell": DENSE_ID, "name": name, "not_applicable": None} for i, name in enumerate(names)
    ]
    outputs.grid("first", points)
    (row,) = joined(outputs).rows
    assert row.missing == ("m/c4/wanda/50%/s1",)


def test_sets_come_by_category_in_the_studys_order(outputs: Outputs) -> None:
    for calib in ("mine", "ellipses", "rte", "gsm8k", "pile", "c4"):
        outputs.cell(calib, scores=ACC)
    sets = calibration_sets(read_results(outputs.root).results)
    assert [(calib.name, calib.category) for calib in sets] == [
        ("c4", "pre-training"),
        ("pile", "pre-training"),
        ("gsm8k", "arithmetic"),
        ("rte", "NLI"),
        ("ellipses", "control"),
        ("mine", "other"),
    ]
    assert category_of("commonsense_qa", {}) == "commonsense"


def test_separators_are_shown_as_they_are_typed(outputs: Outputs) -> None:
    for separator in ("\n", "\n\n", " | "):
        outputs.cell("gsm8k", "icl", scores=ACC, prompt_knobs={"separator": separator})
    labels = [row.label for row in joined(outputs).rows]
    assert sorted(labels) == [f"gsm8k-icl prompt.separator={shown}" for shown in (" | ", r'"\n"', r'"\n\n"')]


CLUSTERS = {"name": "clusters", "class": "ClustersConfig", "pool": 8}
FIRST = {"name": "first", "class": "FirstConfig", "tokens": 64}


def test_a_selector_and_token_weights_are_rows_of_their_own_and_draws_are_joined(outputs: Outputs) -> None:
    score = itertools.count(1)
    for calib, select, weight, draw in itertools.product(("c4", "pile"), (None, CLUSTERS), (None, FIRST), (0, 1, 2)):
        outputs.cell(calib, scores={"acc/gsm8k": [next(score) % 2, 1, 0]}, draw=draw, select=select, weight=weight)
    outputs.cell("c4", scores={"acc/gsm8k": [1, 1, 0]}, seed=1, draw=2)
    report = build_report(outputs.root)
    labels = [row_label(report, row) for row in range(len(report.rows.group))]
    assert labels == [
        *("c4", "c4-first", "c4-clusters", "c4-clusters-first"),
        *("pile", "pile-first", "pile-clusters", "pile-clusters-first"),
    ]
    assert [len(cells) for cells in report.rows.cells] == [4, *[3] * 7]
    assert (report.baseline, report.groups[0].baseline_row) == ("c4", 0)
    (metric,) = report.rows.metrics
    assert list(metric.to_baseline.difference) == [
        None,
        *(pytest.approx(mean - metric.mean[0]) for mean in metric.mean[1:]),
    ]
    assert [report.cells.draw[cell] for cell in report.rows.cells[0]] == [0, 1, 2, 2]


def test_knobs_of_one_selector_and_of_one_weight_tell_rows_apart(outputs: Outputs) -> None:
    scores = {"acc/gsm8k": [1, 1, 0]}
    outputs.cell("c4", scores=scores)
    for pool, tokens in ((8, 64), (4, 64), (4, 32)):
        outputs.cell("c4", scores=scores, select=CLUSTERS | {"pool": pool}, weight=FIRST | {"tokens": tokens})
    report = build_report(outputs.root)
    labels = [row_label(report, row) for row in range(len(report.rows.group))]
    assert sorted(labels) == [
        "c4",
        "c4-clusters-first select.pool=4 weight.tokens=32",
        "c4-clusters-first select.pool=4 weight.tokens=64",
        "c4-clusters-first select.pool=8 weight.tokens=64",
    ]


def test_the_missing_draw_of_a_row_is_known_by_its_name(outputs: Outputs) -> None:
    scores = {"acc/gsm8k": [1, 1, 0]}
    outputs.cell("c4", scores=scores, weight=FIRST)
    folder = outputs.cell("c4", scores=scores, weight=FIRST, draw=1)
    outputs.cell("c4", scores=scores)
    (folder / "result.json").unlink()
    write_status(folder, State.failed, "RuntimeError: out of memory")
    outputs.grid("first")
    report = build_report(outputs.root)
    missing = {row_label(report, row): list(names) for row, names in enumerate(report.rows.missing)}
    assert missing == {"c4": [], "c4-first": ["m/c4-first/wanda/50%/s0d1"]}


def test_the_questions_look_at_plain_rows(outputs: Outputs) -> None:
    for seed, calib in itertools.product((0, 1), ("c4", "pile")):
        outputs.cell(calib, scores={"acc/gsm8k": [1, 1, 0]}, seed=seed)
        outputs.cell(calib, scores={"acc/gsm8k": [0, 0, 0]}, seed=seed, weight=FIRST)
        outputs.cell(calib, scores={"acc/gsm8k": [0, 0, 0]}, seed=seed, select=CLUSTERS)
    first, *_ = build_report(outputs.root).questions
    assert [(answer.contrast, answer.num_cells, answer.effect) for answer in first.answers] == [("c4 - pile", 4, 0.0)]
