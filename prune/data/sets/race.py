"""RACE, reading comprehension from school examinations, middle and high school (Lai et al. 2017)."""

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.labels import choice, cloze, option_lines

LETTERS = ("A", "B", "C", "D")


def _example(row: Row) -> Example:
    answer = choice(column_text(row, "answer"), LETTERS)
    asked = f"Article: {column_text(row, 'article').strip()}\nQuestion: {column_text(row, 'question').strip()}"
    return Example(
        question=f"{asked}\nOptions:\n{option_lines(LETTERS, row['options'])}\n\nAnswer:",
        answer=answer,
        target=answer,
        choices=LETTERS,
        cluster=column_text(row, "article").strip(),
        cloze=cloze(f"{asked}\nAnswer:", row["options"], LETTERS.index(answer)),
    )


DATASET = QuestionSet(
    name="race",
    category=Category.COMMONSENSE,
    hub=Hub(path="ehovy/race", config="all", revision="2fec9fd81f1dc971569a9b729c43f2f0e6436637"),
    example=_example,
    columns=("article", "question", "options", "answer"),
    eval_split="test",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
)
