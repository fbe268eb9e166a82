"""C4, the cleaned Common Crawl (Raffel et al. 2020): the usual calibration set. One shard of train, one of validation."""

from prune.data.dataset import Category, Hub, Row, TextSet
from prune.data.formatting.columns import column_text


def _text(row: Row) -> str:
    return column_text(row, "text")


DATASET = TextSet(
    name="c4",
    category=Category.PRETRAINING,
    hub=Hub(
        path="allenai/c4",
        revision="1588ec454efa1a09f29cd18ddd04fe05fc8653a2",
        files={
            "train": "en/c4-train.00000-of-01024.json.gz",
            "validation": "en/c4-validation.00000-of-00008.json.gz",
        },
    ),
    text=_text,
    columns=("text",),
    eval_split="validation",
    joiner=" ",
)
