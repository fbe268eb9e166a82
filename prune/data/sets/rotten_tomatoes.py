"""Rotten Tomatoes, sentences of film reviews (Pang and Lee 2005)."""

from prune.data.dataset import AnswerKind, Category, Hub, QuestionSet
from prune.data.formatting.sentiment import review_example

DATASET = QuestionSet(
    name="rotten_tomatoes",
    category=Category.SENTIMENT,
    hub=Hub(path="cornell-movie-review-data/rotten_tomatoes", revision="aa13bc287fa6fcab6daf52f0dfb9994269ffea28"),
    example=review_example,
    columns=("text", "label"),
    eval_split="test",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
    rows_are_sorted=True,
)
