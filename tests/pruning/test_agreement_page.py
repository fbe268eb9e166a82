"""docs/agreement.md is what the files of numbers say, and has a row for every way of pruning."""

import json
from argparse import Namespace
from itertools import chain

import pytest

from bench.methods import PERMUTED, measure, methods, summary
from dev.agreement import FILE, MEASURED, METHODS, OTHERS, ROOT, Check, render
from prune.config.drop import Criterion, Search
from prune.config.reconstruct import RECONSTRUCTIONS
from prune.config.sparsity import Allocation
from prune.pruning import registry
from tests.architectures import CONFIGS, calibration, tiny_model

CHECKS = (*METHODS, *OTHERS)
LINES = {check.line for check in CHECKS}


def test_the_page_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == render(), "run python -m dev.agreement, and read the diff"


def test_every_way_of_pruning_has_one_row() -> None:
    options = chain(
        (f"method={kind().name}" for kind, method in registry.METHODS.items() if method is not None),
        (f"sparsity.allocation={each.value}" for each in Allocation if each is not Allocation.uniform),
        (f"sparsity=experts sparsity.criterion={each.value}" for each in Criterion),
        (f"sparsity=blocks sparsity.search={each.value}" for each in Search),
        (f"reconstruct={kind().name}" for kind in RECONSTRUCTIONS if kind().name != "none"),
    )
    knobs = {line for line in LINES if "method.permutation=" in line}
    assert len(LINES) == len(CHECKS) and set(options) == LINES - knobs


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.line)
def test_the_naive_twin_of_a_row_exists(check: Check) -> None:
    file, _, test = check.twin.partition("::")
    assert f"\ndef {test}(" in (ROOT / "tests" / "pruning" / file).read_text(encoding="utf-8")


def test_the_measured_methods_are_those_of_the_rows() -> None:
    names = {key.replace("ria permutation", "ria method.permutation").partition(" start=")[0] for key in methods(1)}
    assert {f"method={name}" for name in names} == {check.line for check in METHODS}


def test_means_and_times_are_those_of_the_measured_linears() -> None:
    report = json.loads(MEASURED.read_text(encoding="utf-8"))
    assert report["summary"] == summary(report["linears"])
    for pattern, of_methods in report["summary"].items():
        lines = [line for line in report["linears"] if line["pattern"] == pattern]
        for method, numbers in of_methods.items():
            errors = [line["errors"][1] for line in lines if line["method"] == method]
            assert numbers["mean_error_held_out"] == pytest.approx(sum(errors) / len(errors))
            assert len(errors) == numbers["num_linears"] == 7 * len(report["blocks"])


def test_the_lowest_error_of_each_column_is_bold() -> None:
    (text,) = (part for part in FILE.read_text(encoding="utf-8").split("## ") if part.startswith("Error and time"))
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    errors = [[row[column] for row in rows] for column in range(1, 7)]
    for column in errors:
        (lowest,) = (cell.strip("*") for cell in column if cell.startswith("**"))
        assert float(lowest) == min(float(cell.strip("* ")) for cell in column if cell.strip())


def test_a_run_measures_every_method_under_every_pattern() -> None:
    asked = Namespace(patterns="0.5,2:4", blocks="1", batch_size=4, max_sweeps=2)
    tokens = {split: calibration(8, seq_len)[0] for split, seq_len in (("train", 16), ("eval", 12))}
    ((blocks, lines),) = measure(tiny_model(CONFIGS["llama"]()), tokens, asked)
    found = summary(lines)
    assert blocks == [1] and set(found["2:4"]) == set(methods(2)) and set(found["0.5"]) == set(methods(2)) - PERMUTED
    for of_pattern in found.values():
        errors = {method: numbers["mean_error_calibration"] for method, numbers in of_pattern.items()}
        assert errors["alps"] < errors["sparsegpt"] < errors["wanda"] < errors["random"]
        assert errors["swaps start=wanda"] < errors["wanda"] and of_pattern["sparsegpt"]["times_sparsegpt"] == 1
        assert all(numbers["num_linears"] == 7 for numbers in of_pattern.values())
