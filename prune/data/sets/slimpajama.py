"""SlimPajama (Cerebras 2023), RedPajama cleaned and de-duplicated; here its 6-billion-token sample. Streamed."""

from prune.data.dataset import Category, Hub, Row, TextSet
from prune.data.formatting.columns import column_text


def _text(row: Row) -> str:
    return column_text(row, "text")


DATASET = TextSet(
    name="slimpajama",
    category=Category.PRETRAINING,
    hub=Hub(path="DKYoon/SlimPajama-6B", revision="1224c66add28b96ab045cd1058e795e8d3595485", streaming=True),
    text=_text,
    columns=("text",),
    eval_split="validation",
)
