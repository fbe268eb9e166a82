"""OSCAR, web text by language (Ortiz Suarez et al. 2019): the English part of Community OSCAR, one snapshot.

Streamed: the first documents of one file. The repository is gated and has no held-out split.
"""

from prune.data.dataset import Category, Hub, Row, TextSet
from prune.data.formatting.columns import column_text


def _text(row: Row) -> str:
    return column_text(row, "text")


DATASET = TextSet(
    name="oscar",
    category=Category.PRETRAINING,
    hub=Hub(
        path="oscar-corpus/community-oscar",
        revision="main",  # no commit of this gated repository was found in public code
        files={"train": "data/2024-38/en_meta/en_meta_part_1.jsonl.zst"},
        streaming=True,
    ),
    text=_text,
    columns=("text",),
    aliases={"content": "text"},
    eval_split="validation",
)
