"""ARC, science questions from school examinations, an easy and a challenging part (Clark et al. 2018)."""

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.labels import lettered_example


def _example(row: Row) -> Example:
    """The letter of the right choice, of three to five; some rows have numbers for letters."""
    return lettered_example(column_text(row, "question"), row["choices"], column_text(row, "answerKey"))


def _part(name: str, config: str) -> QuestionSet:
    return QuestionSet(
        name=name,
        category=Category.COMMONSENSE,
        hub=Hub(path="allenai/ai2_arc", config=config, revision="210d026faf9955653af8916fad021475a3f00453"),
        example=_example,
        columns=("question", "choices", "answerKey"),
        eval_split="test",
        answer_kind=AnswerKind.LABEL,
        has_rationales=False,
    )


DATASETS = (_part("arc_easy", "ARC-Easy"), _part("arc_challenge", "ARC-Challenge"))
