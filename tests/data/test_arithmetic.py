"""Arithmetic in text: exact values, steps in order, and refusal of everything that is not bounded arithmetic."""

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune.data.formatting.arithmetic import MAX_CHARS, MAX_DEPTH, MAX_DIGITS, evaluate, format_number, steps


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("27", 27),
        (" 27. ", 27),
        ("1,080", 1080),
        ("2_520_000", 2520000),
        ("$1,234.50", Fraction("1234.5")),
        ("$ 5", 5),
        (".5", Fraction(1, 2)),
        ("( 62.0 - 35.0 )", 27),
        ("7 + 12 * 2", 31),
        ("(7 + 12) * 2", 38),
        ("8 - 3 - 2", 3),
        ("24 / 4 / 2", 3),
        ("1 / 3", Fraction(1, 3)),
        ("-3", -3),
        ("-(-3) * +2", 6),
        ("((-2) * (-3)) * 4 * (-1)", -24),
        ("60%", 60),
        ("50% * 8", 4),
        ("(10 + 10)% * 50", 10),
        ("4 \u00d7 3 \u2212 6 \u00f7 2", 9),
        ("0.1 + 0.2", Fraction(3, 10)),
    ],
)
def test_value(text: str, value: Fraction) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "9**9**9",
        "2^10",
        "1e9",
        "x",
        "two",
        "__import__('os').system('true')",
        "3 apples",
        "3 4",
        "3 (4)",
        "1 / 0",
        "1 / (2 - 2)",
        "(",
        ")",
        "(3",
        "3)",
        "3 +",
        "* 3",
        "1,2",
        "1,0000",
        "7 + 12 = 19",
        "$",
        "%",
        "\u0663",
        "1\n\x00",
        "(" * 100 + "1" + ")" * 100,
        "-" * (MAX_CHARS - 1) + "1",
        "9" * (MAX_DIGITS + 1),
        "(" * 100_000,
        "1+" * 100_000 + "1",
        "9" * 1_000_000,
        "*".join(["999999999999999999"] * 5),
        "1/" + "/".join(["999999999999999999"] * 5),
    ],
)
def test_no_value_and_no_steps(text: str) -> None:
    started = time.process_time()
    assert evaluate(text) is None
    assert steps(text) == []
    assert time.process_time() - started < 0.1


def test_bounds_are_reached() -> None:
    assert evaluate("(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH) == 1
    assert evaluate("9" * MAX_DIGITS) == 10**MAX_DIGITS - 1
    assert evaluate("1+" * (MAX_CHARS // 2 - 1) + "1") == MAX_CHARS // 2


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("( ( 7.0 + 12.0 ) - 15.0 )", ["7 + 12 = 19", "19 - 15 = 4"]),
        ("2 * (3 + 4)", ["3 + 4 = 7", "2 * 7 = 14"]),
        ("1 / 3", ["1 / 3 = 0.333333"]),
        ("0.5 * 3", ["0.5 * 3 = 1.5"]),
        ("-2 * 3", ["-2 * 3 = -6"]),
        ("8.0", []),
    ],
)
def test_steps(text: str, lines: list[str]) -> None:
    assert steps(text) == lines


@pytest.mark.parametrize(
    ("value", "text"),
    [(Fraction(19), "19"), (Fraction(-1, 2), "-0.5"), (Fraction(2, 3), "0.666667"), (Fraction(100), "100")],
)
def test_format_number(value: Fraction, text: str) -> None:
    assert format_number(value) == text


def _expressions() -> st.SearchStrategy[str]:
    number = st.integers(0, 999).map(str)
    return st.recursive(
        number,
        lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        max_leaves=8,
    )


@given(_expressions())
@settings(max_examples=100)
def test_value_agrees_with_python_on_whole_numbers(text: str) -> None:
    assert evaluate(text) == eval(text, {"__builtins__": {}})
    assert len(steps(text)) == sum(text.count(f" {sign} ") for sign in "+-*")


@given(st.text(alphabet="0123456789+-*/(). ,_$%xe\n\u00b2\u00bd\u0663\u00d7", max_size=30))
@settings(max_examples=200)
def test_any_text_has_a_value_or_none(text: str) -> None:
    value = evaluate(text)
    assert value is None or isinstance(value, Fraction)
