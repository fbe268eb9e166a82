"""LAMBADA, passages from novels (Paperno et al. 2016): whole novels to train on, passages of a few sentences to measure."""

from prune.data.dataset import Category, Hub, Row, TextSet
from prune.data.formatting.columns import column_text


def _text(row: Row) -> str:
    return column_text(row, "text")


DATASET = TextSet(
    name="lambada",
    category=Category.PRETRAINING,
    hub=Hub(path="cimec/lambada", revision="main"),  # no commit was found in public code
    text=_text,
    columns=("text",),
    eval_split="test",
    last_word=True,
)
