"""CommonsenseQA, five options (Talmor et al. 2019), with the rationales of CoS-E v1.11 (Rajani et al. 2019)."""

from prune.data.dataset import AnswerKind, Category, Companion, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.labels import lettered_example
from prune.data.formatting.rationale import join_steps


def _example(row: Row) -> Example:
    """The letter of the right option; the letters are the choices. Test rows have no answer."""
    return lettered_example(
        column_text(row, "question"),
        row["choices"],
        column_text(row, "answerKey"),
        join_steps([str(row["abstractive_explanation"] or "")]),
    )


DATASET = QuestionSet(
    name="commonsense_qa",
    category=Category.COMMONSENSE,
    hub=Hub(path="tau/commonsense_qa", revision="94630fe30dad47192a8546eb75f094926d47e155"),
    example=_example,
    columns=("id", "question", "choices", "answerKey"),
    eval_split="validation",
    answer_kind=AnswerKind.LABEL,
    has_rationales=True,
    companion=Companion(
        name="cos_e",
        hub=Hub(path="Salesforce/cos_e", config="v1.11", revision="main"),  # no commit was found in public code
        key="id",
        columns=("abstractive_explanation",),
    ),
)
