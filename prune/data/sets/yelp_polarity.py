"""Yelp reviews of businesses, with one or two stars against three or four (Zhang et al. 2015)."""

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text
from prune.data.formatting.sentiment import review_example


def _example(row: Row) -> Example:
    return review_example(column_text(row, "text"), row["label"])


DATASET = QuestionSet(
    name="yelp_polarity",
    category=Category.SENTIMENT,
    hub=Hub(path="fancyzhx/yelp_polarity", config="plain_text", revision="bbf1c97a1f0cf005e5aded43839fd814654a1557"),
    example=_example,
    columns=("text", "label"),
    eval_split="test",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
)
