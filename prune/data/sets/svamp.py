"""SVAMP, varied one-step to two-step word problems (Patel et al. 2021). The answer in a prompt is the equation."""

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.arithmetic import steps
from prune.data.formatting.columns import column_text
from prune.data.formatting.rationale import join_steps


def _example(row: Row) -> Example:
    """The rationale is the equation worked out step by step; a lone number has none."""
    body, question = column_text(row, "Body").strip(), column_text(row, "Question").strip()
    if not body.endswith((".", "!", "?")):
        body += "."
    equation = column_text(row, "Equation").strip()
    return Example(
        question=f"Question: {body} {question}\nAnswer:",
        answer=equation,
        target=column_text(row, "Answer").strip().replace(",", ""),
        rationale=join_steps(steps(equation)),
    )


DATASET = QuestionSet(
    name="svamp",
    category=Category.ARITHMETIC,
    hub=Hub(path="ChilleD/SVAMP", revision="5e0bf1e5e7c0e9c4bc39180d224f41f3f801b7ef"),
    example=_example,
    columns=("Body", "Question", "Equation", "Answer"),
    eval_split="test",
    answer_kind=AnswerKind.NUMBER,
    has_rationales=True,
)
