"""IMDB, film reviews of several paragraphs (Maas et al. 2011)."""

from prune.data.dataset import AnswerKind, Category, Hub, QuestionSet
from prune.data.formatting.sentiment import review_example

DATASET = QuestionSet(
    name="imdb",
    category=Category.SENTIMENT,
    hub=Hub(path="stanfordnlp/imdb", config="plain_text", revision="e6281661ce1c48d982bc483cf8a173c1bbeb5d31"),
    example=review_example,
    columns=("text", "label"),
    eval_split="test",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
    rows_are_sorted=True,
)
