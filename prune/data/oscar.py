"""OSCAR, web text by language (Ortiz Suarez et al. 2019). Streamed: the first documents. The hub's copy has no held-out split."""

from prune.data.dataset import Category, Hub, Row, TextSet


def _text(row: Row) -> str:
    return str(row["text"])


DATASET = TextSet(
    name="oscar",
    category=Category.PRETRAINING,
    hub=Hub(path="oscar-corpus/community-oscar", revision="main", streaming=True),
    text=_text,
    columns=("text",),
    eval_split="validation",
)
