"""RedPajama (Together 2023), the open copy of LLaMA's mixture. The hub's copies are scripts that no longer load."""

from prune.data.dataset import Category, Row, TextSet
from prune.data.formatting.columns import column_text


def _text(row: Row) -> str:
    return column_text(row, "text")


DATASET = TextSet(
    name="redpajama",
    category=Category.PRETRAINING,
    hub=None,
    text=_text,
    columns=("text",),
    aliases={"raw_content": "text"},
    eval_split="validation",
    hub_note=(
        "the hub's RedPajama is a script repository, which `datasets` no longer runs; take calib=slimpajama (its cleaned, "
        "de-duplicated descendant), or data=local with redpajama/train.jsonl under data.root"
    ),
)
