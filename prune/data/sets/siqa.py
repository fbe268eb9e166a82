"""Social IQa, why people act and what follows, three options (Sap et al. 2019)."""

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.labels import choice, lettered_example

LETTERS = ("A", "B", "C")
_NUMBERS = ("1", "2", "3")


def _example(row: Row) -> Example:
    """The letter of the right answer; the hub counts the answers from "1"."""
    letter = LETTERS[_NUMBERS.index(choice(column_text(row, "label").strip(), _NUMBERS))]
    asked = f"{column_text(row, 'context').strip()} {column_text(row, 'question').strip()}"
    options = {"label": LETTERS, "text": [column_text(row, f"answer{each}").strip() for each in LETTERS]}
    return lettered_example(asked, options, letter)


DATASET = QuestionSet(
    name="siqa",
    category=Category.COMMONSENSE,
    hub=Hub(  # the hub's conversion of a script
        path="allenai/social_i_qa", revision="537a2ec8ec565adc0b70b70752893e59e024df26"
    ),
    example=_example,
    columns=("context", "question", "answerA", "answerB", "answerC", "label"),
    eval_split="validation",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
)
