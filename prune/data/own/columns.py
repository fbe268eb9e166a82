"""A row's columns as text: one column by name, or a template over several."""

import math
import string
from types import NoneType
from typing import Any

from prune.data.dataset import Row
from prune.data.privacy import KINDS, quote, quote_names
from prune.errors import UserError

_FORMATTER = string.Formatter()


def is_template(text: str) -> bool:
    """Whether this is a template, as `{title}: {body}`, and not the name of a column."""
    return "{" in text


def columns_of(text: str) -> tuple[str, ...]:
    """The columns that a name or a template reads.

    Raises:
        UserError: the template is broken.
    """
    if not is_template(text):
        return (text,)
    try:
        parts = list(_FORMATTER.parse(text))
    except ValueError as error:
        raise UserError(
            f"{text!r} is no template: {error}. A column stands in braces, as in '{{title}}: {{body}}'."
        ) from None
    names = []
    for _, name, specification, conversion in parts:
        if name is None:
            continue
        if not name or specification or conversion:
            raise UserError(f"{text!r} is no template: between braces stands the name of a column, and nothing else.")
        names.append(name)
    if not names:
        raise UserError(f"{text!r} names no column: each row would have the same text.")
    return tuple(dict.fromkeys(names))


def fill(text: str, row: Row) -> str:
    """The text of a column, or of a template with the columns of this row.

    Raises:
        UserError: a column is missing in this row, or holds neither text nor a number.
    """
    if not is_template(text):
        return plain_text(row, text)
    parts = [(literal, name) for literal, name, _, _ in _FORMATTER.parse(text)]
    return "".join(literal + ("" if name is None else plain_text(row, name)) for literal, name in parts)


def plain_text(row: Row, column: str) -> str:
    """The text in this column; a number is written out.

    Raises:
        UserError: there is no such column, or it holds neither text nor a finite number.
    """
    if column not in row:
        raise UserError(f"column {column} is missing; this row has {quote_names(row)}")
    value = row[column]
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    raise UserError(f"column {column} holds {shorten(value)}, which is not text")


def shorten(value: Any) -> str:
    """A value as a message shows it: a text or a number itself, of anything else the kind."""
    return KINDS[type(value)] if isinstance(value, list | tuple | dict | NoneType) else quote(value)
