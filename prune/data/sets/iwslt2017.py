"""IWSLT 2017, TED talks, English to French (Cettolo et al. 2017). A row is a sentence or a few from a talk."""

from prune.data.dataset import AnswerKind, Category, Hub, QuestionSet
from prune.data.formatting.translation import to_french

DATASET = QuestionSet(
    name="iwslt2017",
    category=Category.TRANSLATION,
    hub=Hub(  # the hub's conversion of a script, which holds a folder for each pair of languages
        path="IWSLT/iwslt2017",
        config="iwslt2017-en-fr",
        revision="f3165b05f97abe3dbe0e20bd6ab6ce5082eb756a",
        files={split: f"iwslt2017-en-fr/{split}/0000.parquet" for split in ("train", "validation", "test")},
    ),
    example=to_french,
    columns=("translation",),
    eval_split="test",
    answer_kind=AnswerKind.TEXT,
    has_rationales=False,
)
