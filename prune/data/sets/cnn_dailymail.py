"""CNN and Daily Mail, news articles (Hermann et al. 2015; See et al. 2017): the articles without their highlights."""

from prune.data.dataset import Category, Hub, Row, TextSet
from prune.data.formatting.columns import column_text


def _text(row: Row) -> str:
    return column_text(row, "text")


DATASET = TextSet(
    name="cnn_dailymail",
    category=Category.PRETRAINING,
    hub=Hub(path="abisee/cnn_dailymail", config="3.0.0", revision="96df5e686bee6baa90b8bee7c28b81fa3fa6223d"),
    text=_text,
    columns=("text",),
    aliases={"article": "text"},
    eval_split="test",
)
