"""What the sets of translations share: a sentence in English, and its French."""

from prune.data.dataset import Example, Row
from prune.data.formatting.columns import column_text


def to_french(row: Row) -> Example:
    """The English sentence of `translation`, answered by the French one.

    The study writes "English:{en}"; here a space follows the colon, as in every other set.
    """
    english, french = (column_text(row["translation"], language).strip() for language in ("en", "fr"))
    return Example(question=f"English: {english}\nFrench:", answer=french, target=french)
