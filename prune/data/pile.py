"""The Pile (Gao et al. 2020) without its copyrighted parts. Streamed: the first documents of each split."""

from prune.data.dataset import Category, Hub, Row, TextSet


def _text(row: Row) -> str:
    return str(row["text"])


DATASET = TextSet(
    name="pile",
    category=Category.PRETRAINING,
    hub=Hub(path="monology/pile-uncopyrighted", revision="main", streaming=True),
    text=_text,
    columns=("text",),
    eval_split="validation",
)
