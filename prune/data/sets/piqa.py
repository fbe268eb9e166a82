"""PIQA, which of two solutions reaches an everyday goal (Bisk et al. 2020). Test rows have no answer."""

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.labels import label_name, lettered_example

LETTERS = ("A", "B")


def _example(row: Row) -> Example:
    """The letter of the right solution; the hub counts them from 0."""
    options = {"label": LETTERS, "text": [column_text(row, "sol1"), column_text(row, "sol2")]}
    return lettered_example(column_text(row, "goal"), options, label_name(row["label"], LETTERS))


DATASET = QuestionSet(
    name="piqa",
    category=Category.COMMONSENSE,
    hub=Hub(path="ybisk/piqa", revision="142c51238b3ca2bc61e9a075913871b8b600e8e1"),  # the hub's conversion of a script
    example=_example,
    columns=("goal", "sol1", "sol2", "label"),
    eval_split="validation",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
)
