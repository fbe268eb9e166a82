"""WikiText-2, raw (Merity et al. 2016). A row is a paragraph, a heading or nothing; perplexity joins the test rows."""

from prune.data.dataset import Category, Hub, Row, TextSet
from prune.data.formatting.columns import column_text


def _text(row: Row) -> str:
    return column_text(row, "text")


DATASET = TextSet(
    name="wikitext2",
    category=Category.PRETRAINING,
    hub=Hub(
        path="Salesforce/wikitext",
        config="wikitext-2-raw-v1",
        revision="b08601e04326c79dfdd32d625aee71d232d685c3",
    ),
    text=_text,
    columns=("text",),
    eval_split="test",
    rows_are_lines=True,
)
