"""RefinedWeb, Common Crawl filtered and de-duplicated for Falcon (Penedo et al. 2023).

Streamed: the first documents of one file. The repository has no held-out split.
"""

from prune.data.dataset import Category, Hub, Row, TextSet
from prune.data.formatting.columns import column_text


def _text(row: Row) -> str:
    return column_text(row, "text")


DATASET = TextSet(
    name="refinedweb",
    category=Category.PRETRAINING,
    hub=Hub(
        path="tiiuae/falcon-refinedweb",
        revision="c735840575b629292b41da8dde11dcd523d4f91c",
        files={"train": "data/train-00000-of-05534-b8fc5348cbe605a5.parquet"},
        streaming=True,
    ),
    text=_text,
    columns=("text",),
    aliases={"content": "text"},
    eval_split="validation",
)
