"""Capitals: a country, its capital among six cities."""

from prune.data.dataset import AnswerKind, Category, Example, QuestionSet, Row
from prune.data.formatting.columns import column_text

CAPITALS = ("Paris", "Tokyo", "Nairobi", "Santiago", "Oslo", "Cairo")


def _example(row: Row) -> Example:
    capital = column_text(row, "capital")
    question = f"Country: {column_text(row, 'country')}\nCapital:"
    return Example(question=question, answer=capital, target=capital, choices=CAPITALS)


DATASET = QuestionSet(
    name="capitals",
    category=Category.COMMONSENSE,
    hub=None,
    hub_note="The rows of capitals are local files: data=local data.root=FOLDER.",
    example=_example,
    columns=("country", "capital"),
    eval_split="test",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
    num_fewshot=1,
)
