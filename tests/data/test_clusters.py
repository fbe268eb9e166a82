"""Which questions of a set share something, so that their answers are not independent."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from prune.data.dataset import QuestionSet, cluster_numbers
from prune.data.registry import DATASETS

NLI = [{"premise": premise, "hypothesis": text, "label": 0} for premise, text in (("A", "x"), ("B", "y"), (" A", "z"))]
TWINS = [
    "Sarah was a better surgeon than Maria so _ got the easier cases.",
    "Sarah was a better surgeon than Maria so _ got the harder cases.",
    "Ann met Sarah and Maria and _ laughed.",
]


def rows_of(name: str) -> Sequence[Mapping[str, Any]]:
    """Three rows, of which two share something."""
    if name == "winogrande":
        options = [("Sarah", "Maria"), ("Maria", "Sarah"), ("Sarah", "Maria")]
        return [
            {"sentence": sentence, "option1": first, "option2": second, "answer": "1"}
            for sentence, (first, second) in zip(TWINS, options, strict=True)
        ]
    if name == "rte":
        return [{"sentence1": row["premise"], "sentence2": row["hypothesis"], "label": 0} for row in NLI]
    if name == "boolq":
        return [{"passage": row["premise"], "question": row["hypothesis"], "answer": True} for row in NLI]
    if name == "race":
        options = ["a", "b", "c", "d"]
        return [{"article": row["premise"], "question": "?", "options": options, "answer": "A"} for row in NLI]
    return [row | {"explanation_1": "", "reason": ""} for row in NLI]


@pytest.mark.parametrize("name", ["esnli", "anli_r1", "anli_r3", "rte", "boolq", "race", "winogrande"])
def test_rows_that_share_a_premise_or_passage_are_one_cluster(name: str) -> None:
    dataset = DATASETS[name]
    assert isinstance(dataset, QuestionSet)
    expected = [0, 0, 2] if name == "winogrande" else [0, 1, 0]
    assert cluster_numbers([dataset.example(row) for row in rows_of(name)]) == expected


def test_rows_of_other_sets_stand_alone() -> None:
    dataset = DATASETS["svamp"]
    assert isinstance(dataset, QuestionSet)
    row = {"Body": "There are 2.", "Question": "How many?", "Answer": 2.0, "Equation": "2", "ID": "1", "Type": ""}
    assert cluster_numbers([dataset.example(row)] * 2) == [0, 1]
