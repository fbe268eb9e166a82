"""Yelp reviews of businesses, with one or two stars against three or four (Zhang et al. 2015)."""

from prune.data.dataset import AnswerKind, Category, Hub, QuestionSet
from prune.data.formatting.sentiment import review_example

DATASET = QuestionSet(
    name="yelp_polarity",
    category=Category.SENTIMENT,
    hub=Hub(path="fancyzhx/yelp_polarity", config="plain_text", revision="bbf1c97a1f0cf005e5aded43839fd814654a1557"),
    example=review_example,
    columns=("text", "label"),
    eval_split="test",
    answer_kind=AnswerKind.LABEL,
    has_rationales=False,
)
