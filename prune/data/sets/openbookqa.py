"""OpenBookQA, elementary science, a sentence to be completed, four options (Mihaylov et al. 2018)."""

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.labels import lettered_example


def _example(row: Row) -> Example:
    return lettered_example(column_text(row, "question_stem"), row["choices"], column_text(row, "answerKey").strip())


DATASET = QuestionSet(
    name="openbookqa",
    category=Category.COMMONSENSE,
    hub=Hub(path="allenai/openbookqa", config="main", revision="388097ea7776314e93a529163e0fea805b8a6454"),
    example=_example,
    columns=("question_stem", "choices", "answerKey"),
    eval_split="test",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
)
