"""e-SNLI, natural language inference with explanations (Camburu et al. 2018). The first explanation is the rationale."""

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.nli import NLI_FEWSHOT, NLI_LABELS, nli_example


def _example(row: Row) -> Example:
    premise, hypothesis = column_text(row, "premise"), column_text(row, "hypothesis")
    return nli_example(premise, hypothesis, row["label"], NLI_LABELS, row["explanation_1"])


DATASET = QuestionSet(
    name="esnli",
    category=Category.NLI,
    hub=Hub(path="esnli/esnli", revision="refs/convert/parquet"),  # the hub's conversion of a script
    example=_example,
    columns=("premise", "hypothesis", "label", "explanation_1"),
    eval_split="test",
    answer_kind=AnswerKind.LABEL,
    has_rationales=True,
    num_fewshot=NLI_FEWSHOT,
)
