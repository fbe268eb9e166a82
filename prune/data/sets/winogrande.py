"""WinoGrande, who or what the blank stands for (Sakaguchi et al. 2020), in the study's size m."""

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.labels import choice, option_lines

NUMBERS = ("1", "2")


def _example(row: Row) -> Example:
    answer = choice(column_text(row, "answer"), NUMBERS)
    options = option_lines(NUMBERS, (column_text(row, "option1"), column_text(row, "option2")))
    return Example(
        question=f"Sentence: {column_text(row, 'sentence').strip()}\nOptions:\n{options}\nAnswer:",
        answer=answer,
        target=answer,
        choices=NUMBERS,
    )


DATASET = QuestionSet(
    name="winogrande",
    category=Category.COMMONSENSE,
    hub=Hub(path="allenai/winogrande", config="winogrande_m", revision="01e74176c63542e6b0bcb004dcdea22d94fb67b5"),
    example=_example,
    columns=("sentence", "option1", "option2", "answer"),
    eval_split="validation",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
)
