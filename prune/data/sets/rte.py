"""RTE, recognising textual entailment, as in GLUE (Wang et al. 2018). Two labels; the test split's are not published."""

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.nli import NLI_FEWSHOT, nli_example

LABELS = ("entailment", "not_entailment")


def _example(row: Row) -> Example:
    return nli_example(column_text(row, "sentence1"), column_text(row, "sentence2"), row["label"], LABELS)


DATASET = QuestionSet(
    name="rte",
    category=Category.NLI,
    hub=Hub(path="nyu-mll/glue", config="rte", revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"),
    example=_example,
    columns=("sentence1", "sentence2", "label"),
    aliases={"text1": "sentence1", "text2": "sentence2"},
    eval_split="validation",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
    num_fewshot=NLI_FEWSHOT,
)
