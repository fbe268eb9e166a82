"""GSM8K, grade-school word problems (Cobbe et al. 2021). The answer column is a worked solution, "####", and the number."""

import re

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.rationale import join_steps
from prune.errors import UserError

_CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")


def _example(row: Row) -> Example:
    """Each line of the solution is one step of the rationale, without the calculator marks ``<<48/2=24>>``."""
    solution, mark, number = column_text(row, "answer").partition("####")
    if not mark or not number.strip():
        raise UserError("the answer has no number after ####")
    number = number.strip()
    return Example(
        question=f"Question: {column_text(row, 'question').strip()}\nAnswer:",
        answer=number,
        target=number.replace(",", ""),
        rationale=join_steps(_CALCULATOR_MARK.sub("", solution).splitlines()),
    )


DATASET = QuestionSet(
    name="gsm8k",
    category=Category.ARITHMETIC,
    hub=Hub(path="openai/gsm8k", config="main", revision="740312add88f781978c0658806c59bc2815b9866"),
    example=_example,
    columns=("question", "answer"),
    eval_split="test",
    answer_kind=AnswerKind.NUMBER,
    has_rationales=True,
)
