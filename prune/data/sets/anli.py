"""ANLI, adversarial natural language inference in three rounds (Nie et al. 2020). Some rows have no reason."""

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.nli import NLI_FEWSHOT, NLI_LABELS, nli_example


def _example(row: Row) -> Example:
    premise, hypothesis = column_text(row, "premise"), column_text(row, "hypothesis")
    return nli_example(premise, hypothesis, row["label"], NLI_LABELS, row["reason"])


def _round(number: int) -> QuestionSet:
    return QuestionSet(
        name=f"anli_r{number}",
        category=Category.NLI,
        hub=Hub(
            path="facebook/anli",
            revision="8e4813d81f46d313dac7892e1c28076917cfcdf9",
            splits={"train": f"train_r{number}", "validation": f"dev_r{number}", "test": f"test_r{number}"},
        ),
        example=_example,
        columns=("premise", "hypothesis", "label", "reason"),
        eval_split="test",
        answer_kind=AnswerKind.LABEL,
        has_rationales=True,
        num_fewshot=NLI_FEWSHOT,
    )


DATASETS = tuple(_round(number) for number in (1, 2, 3))
