"""BoolQ, yes/no questions about a passage (Clark et al. 2019)."""

from prune.data.dataset import AnswerKind, Category, Cloze, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.privacy import quote
from prune.errors import UserError

ANSWERS = ("True", "False")
CLOZE_ANSWERS = ("yes", "no")


def _example(row: Row) -> Example:
    if not isinstance(row["answer"], bool):
        raise UserError(f"answer {quote(row['answer'])} must be true or false")
    passage, question = column_text(row, "passage").strip(), column_text(row, "question").strip()
    answer = str(row["answer"])
    return Example(
        question=f"Passage: {passage}\nQuestion: {question}\nAnswer:",
        answer=answer,
        target=answer,
        choices=ANSWERS,
        cluster=passage,
        cloze=Cloze(
            question=f"Passage: {passage}\nQuestion: {question.removesuffix('?')}?\nAnswer:",
            choices=CLOZE_ANSWERS,
            answer=CLOZE_ANSWERS[ANSWERS.index(answer)],
        ),
    )


DATASET = QuestionSet(
    name="boolq",
    category=Category.COMMONSENSE,
    hub=Hub(path="google/boolq", revision="35b264d03638db9f4ce671b711558bf7ff0f80d5"),
    example=_example,
    columns=("question", "answer", "passage"),
    eval_split="validation",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
)
