"""WMT14, English to French (Bojar et al. 2014)."""

from prune.data.dataset import AnswerKind, Category, Hub, QuestionSet
from prune.data.formatting.translation import to_french

DATASET = QuestionSet(
    name="wmt14",
    category=Category.TRANSLATION,
    hub=Hub(path="wmt/wmt14", config="fr-en", revision="b199e406369ec1b7634206d3ded5ba45de2fe696", streaming=True),
    example=to_french,
    columns=("translation",),
    eval_split="test",
    answer_kind=AnswerKind.TEXT,
    has_rationales=False,
)
