"""Whether rows are private: messages then quote nothing of them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_PRIVATE = ContextVar("private", default=False)

KINDS: dict[type, str] = {
    **{str: "a text", bool: "true or false", int: "a number", float: "a number"},
    **{list: "a list", tuple: "a list", dict: "an object", type(None): "nothing (null)"},
}

UNTOLD = "privacy=true withholds the rest"


@contextmanager
def private_rows(private: bool) -> Iterator[None]:
    """Keep rows out of all messages that are made inside, if `private`."""
    token = _PRIVATE.set(private)
    try:
        yield
    finally:
        _PRIVATE.reset(token)


def are_private() -> bool:
    """Whether messages may not quote rows."""
    return _PRIVATE.get()


def quote(value: Any) -> str:
    """A value of a row as a message shows it: cut short, or if rows are private, its kind alone."""
    if are_private() and value is not None:
        return KINDS.get(type(value), "a value")
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def quote_names(names: Iterable[Any]) -> str:
    """The names of columns, or if rows are private their number: a file without a header has a row there."""
    listed = list(map(str, names))
    if not listed:
        return "none"
    return f"{len(listed)} names (privacy=true withholds them)" if are_private() else ", ".join(listed)


def reason_of(error: BaseException) -> str:
    """What an error from outside this program says; if rows are private, its type alone."""
    return f"{type(error).__name__} ({UNTOLD})" if are_private() else f"{type(error).__name__}: {error}"


def cause_of(error: Exception) -> Exception | None:
    """The error as the cause of another; None if rows are private, as a traceback shows causes."""
    return None if are_private() else error
