"""WMT14, English to French (Bojar et al. 2014).

The study writes "English:{en}"; here a blank follows the colon, as in every other set.
"""

from prune.data.dataset import AnswerKind, Category, Example, Hub, QuestionSet, Row
from prune.data.formatting.columns import column_text


def _example(row: Row) -> Example:
    english, french = (column_text(row["translation"], language).strip() for language in ("en", "fr"))
    return Example(question=f"English: {english}\nFrench:", answer=french, target=french)


DATASET = QuestionSet(
    name="wmt14",
    category=Category.TRANSLATION,
    hub=Hub(path="wmt/wmt14", config="fr-en", revision="b199e406369ec1b7634206d3ded5ba45de2fe696", streaming=True),
    example=_example,
    columns=("translation",),
    eval_split="test",
    answer_kind=AnswerKind.TEXT,
    has_rationales=False,
)
