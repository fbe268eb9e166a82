"""The Pile (Gao et al. 2020) without its copyrighted parts. Streamed: the first documents of each split."""

from prune.data.dataset import Category, Hub, Row, TextSet
from prune.data.formatting.columns import column_text


def _text(row: Row) -> str:
    return column_text(row, "text")


DATASET = TextSet(
    name="pile",
    category=Category.PRETRAINING,
    hub=Hub(
        path="monology/pile-uncopyrighted",
        revision="3be90335b66f24456a5d6659d9c8d208c0357119",
        files={"train": "train/00.jsonl.zst", "validation": "val.jsonl.zst", "test": "test.jsonl.zst"},
        streaming=True,
    ),
    text=_text,
    columns=("text",),
    eval_split="validation",
)
