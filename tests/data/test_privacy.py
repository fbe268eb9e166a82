"""Messages quote rows, and of private ones the kind of what is there."""

from typing import Any

import pytest

from prune.data.privacy import are_private, cause_of, private_rows, quote, quote_names, reason_of

QUOTED: list[tuple[Any, str, str]] = [
    ("secret", "'secret'", "a text"),
    ("s" * 100, f"'{'s' * 36}...", "a text"),
    (12345, "12345", "a number"),
    (float("nan"), "nan", "a number"),
    (True, "True", "true or false"),
    (["secret"], "['secret']", "a list"),
    ({"secret": 1}, "{'secret': 1}", "an object"),
    (b"secret", "b'secret'", "a value"),
    (None, "None", "None"),
]


@pytest.mark.parametrize(("value", "shown", "private"), QUOTED, ids=[type(value).__name__ for value, _, _ in QUOTED])
def test_a_value(value: Any, shown: str, private: str) -> None:
    assert quote(value) == shown
    with private_rows(True):
        assert quote(value) == private
    assert quote(value) == shown


def test_names_of_columns() -> None:
    assert quote_names(["a", "b"]) == "a, b" and quote_names([]) == "none"
    with private_rows(True):
        assert quote_names(["a", "b"]) == "2 names (privacy=true withholds them)" and quote_names([]) == "none"


def test_an_error_of_a_library() -> None:
    error = ValueError("could not convert 'secret'")
    assert reason_of(error) == "ValueError: could not convert 'secret'" and cause_of(error) is error
    with private_rows(True):
        assert reason_of(error) == "ValueError (privacy=true withholds the rest)" and cause_of(error) is None


def test_it_ends_with_what_it_was_for() -> None:
    with pytest.raises(ZeroDivisionError), private_rows(True), private_rows(True):
        raise ZeroDivisionError
    assert not are_private()
