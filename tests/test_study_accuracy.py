"""Pooled accuracy of a study, against numbers that were worked out by hand or by scipy."""

import gzip
import json
from pathlib import Path

import pytest
from scipy import stats

from dev.study_accuracy import Dense, accuracy_table, read_dense, stand
from prune.report.compare.statistics import unpaired_t

CHOICES = [
    {"id": 0, "bpb": [1.0, 2.0], "correct": True},
    {"id": 1, "bpb": [3.0, 2.5], "correct": True},
    {"id": 2, "bpb": [0.5, 0.75], "correct": False},
]
ANSWERS = [{"id": 0, "bpb": 1.0}, {"id": 1, "bpb": 2.5}, {"id": 2, "bpb": 0.75}]


def test_the_right_choice_is_that_of_the_right_answers_bits() -> None:
    assert stand(CHOICES, ANSWERS) == Dense(num_right=2, num_items=3, majority=2 / 3)


def test_a_majority_is_not_known_where_a_rationale_was_scored() -> None:
    found = stand(CHOICES, [{"id": item["id"], "bpb": 9.0} for item in CHOICES])
    assert found == Dense(num_right=2, num_items=3, majority=None)
    assert found.p == 1.0


def test_the_test_is_exact_and_one_sided() -> None:
    tail = sum(stats.binom.pmf(right, 100, 0.54) for right in range(69, 101))
    assert Dense(69, 100, 0.54).p == pytest.approx(tail)
    assert Dense(40, 100, 0.54).p > 0.99


def test_only_sets_above_their_majority_are_pooled_by_their_items() -> None:
    dense = {"piqa": Dense(69, 100, 0.54), "arc_easy": Dense(41, 50, 0.28), "winogrande": Dense(44, 100, 0.5)}
    rows = {
        "c4": {
            str(draw): {"acc_cf/piqa": 0.5, "acc_cf/arc_easy": 0.3 + draw / 10, "acc_cf/winogrande": 1.0} for draw in (0, 1)
        },
        "pile": {
            str(draw): {"acc_cf/piqa": 0.6, "acc_cf/arc_easy": 0.3 + draw / 5, "acc_cf/winogrande": 0.0} for draw in (0, 1)
        },
        "mix": {"0": {"acc_cf/piqa": 0.6, "acc_cf/arc_easy": 0.3, "acc_cf/winogrande": 0.0}},
    }
    text = accuracy_table({("wanda", "50%"): rows, ("sparsegpt", "50%"): {"pile": rows["pile"]}}, dense)
    one, other = [0.5, 0.5 + 0.2 / 3], [1.3 / 3, 1.3 / 3 + 0.1 / 3]
    found = unpaired_t(one, other)
    assert f"| c4 | {sum(other) / 2:.3f} | not measured |" in text
    told = f"{sum(one) / 2:.3f}, {found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
    assert f"| pile | {told} | {sum(one) / 2:.3f} |" in text
    assert "| mix | 0.500 | not measured |" in text
    assert "| winogrande | 0.44 | 0.50 | 0.903 | no |" in text


def test_a_dense_model_at_chance_leaves_nothing_to_pool() -> None:
    assert "On no set" in accuracy_table({}, {"winogrande": Dense(44, 100, 0.5), "esnli": Dense(90, 100, None)})


def test_the_dense_cells_shown_items_are_read(tmp_path: Path) -> None:
    scores = {"acc_cf-piqa": CHOICES, "acc_cf-piqa-0123": CHOICES[:2], "bpb-piqa": ANSWERS}
    for cell, method in (("a", "wanda"), ("b", "dense")):
        folder = tmp_path / "cells" / cell / "items"
        folder.mkdir(parents=True)
        (folder.parent / "result.json").write_text(json.dumps({"axes": {"method": method}}), encoding="utf-8")
        for name, items in scores.items():
            lines = "".join(json.dumps(item) + "\n" for item in items)
            (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    assert dict(read_dense(tmp_path, ["piqa"])) == {"piqa": Dense(2, 3, 2 / 3)}
