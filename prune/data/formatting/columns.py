"""A column's text, without ever turning a missing value into the word None."""

from prune.data.dataset import Row
from prune.data.privacy import quote
from prune.errors import UserError


def column_text(row: Row, column: str) -> str:
    """The text in this column; a number is written out.

    Raises:
        UserError: it holds neither text nor a number.
    """
    value = row[column]
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(f"column {column} holds {quote(value)}, which is not text")
