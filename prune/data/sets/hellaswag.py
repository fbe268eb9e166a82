"""HellaSwag, which of four endings goes on with a scene (Zellers et al. 2019). Test rows have no answer."""

import re

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.labels import choice, cloze, option_lines

LETTERS = ("A", "B", "C", "D")
_NUMBERS = ("0", "1", "2", "3")


def _example(row: Row) -> Example:
    """The letter of the right ending; the hub counts the endings from "0". In cloze form it goes on with the scene."""
    answer = LETTERS[int(choice(column_text(row, "label"), _NUMBERS))]
    scene = clean(f"{column_text(row, 'ctx_a')} {column_text(row, 'ctx_b')}")
    endings = [clean(ending) for ending in row["endings"]]
    told = f"{clean(column_text(row, 'activity_label'))}: {scene}"
    return Example(
        question=f"{told}\nEndings:\n{option_lines(LETTERS, endings)}\nAnswer:",
        answer=answer,
        target=answer,
        choices=LETTERS,
        cloze=cloze(told.rstrip(), endings, LETTERS.index(answer)),
    )


def clean(text: str) -> str:
    """The text without the marks that WikiHow pages left in it: `[title]` begins a sentence, `[step]` and others are
    removed."""
    return " ".join(re.sub(r"\[.*?\]", "", text.replace(" [title]", ". ")).split())


DATASET = QuestionSet(
    name="hellaswag",
    category=Category.COMMONSENSE,
    hub=Hub(path="Rowan/hellaswag", revision="218ec52e09a7e7462a5400043bb9a69a41d06b76"),
    example=_example,
    columns=("activity_label", "ctx_a", "ctx_b", "endings", "label"),
    eval_split="validation",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
)
