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
