"""Arithmetic in text: its value and its steps, by a small bounded parser that never runs Python code.

Allowed are + - * / (also the signs for minus, times and divided by), parentheses, whole and decimal numbers, thousands
separated by ``,`` or ``_``, ``$`` before a number (ignored) and ``%`` after one. Everything else, and everything over the
bounds, has no value. Values are exact fractions.
"""

import operator
import re
from collections.abc import Callable
from fractions import Fraction

MAX_CHARS = 200
MAX_DEPTH = 20
MAX_DIGITS = 18
"""Digits of one number, on both sides of its point."""
MAX_BITS = 256
"""Size of any value's numerator or denominator on the way."""

_NUMBER = r"(?:[0-9]{1,3}(?:[,_][0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+"
_TOKEN = re.compile(rf"\s*(?:(?P<number>\$?\s?(?:{_NUMBER}))|(?P<sign>[-+*/()%]))")
_LONE_PERCENT = re.compile(rf"[-+]?\s*(?:{_NUMBER})\s*%")
_SIGNS = str.maketrans({"\N{MINUS SIGN}": "-", "\N{MULTIPLICATION SIGN}": "*", "\N{DIVISION SIGN}": "/"})


_OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


class _NotArithmeticError(Exception):
    """The text has no value."""


def evaluate(text: str) -> Fraction | None:
    """The exact value of `text`, or None when it is not arithmetic, divides by zero, or exceeds the bounds.

    A percentage inside an expression is a hundredth ("50% * 8" is 4); alone it is its number ("60%" is 60), as gold answers
    to "what percentage" are written.
    """
    try:
        return _Parser(text).parse()
    except _NotArithmeticError:
        return None


def steps(text: str) -> list[str]:
    """One line for each operation of `text`, in the order of evaluation: "7 + 12 = 19", "19 - 15 = 4".

    Empty when `text` is a lone number or has no value. Values that no short decimal can write are rounded to six places.
    """
    parser = _Parser(text)
    try:
        parser.parse()
    except _NotArithmeticError:
        return []
    return parser.steps


def format_number(value: Fraction) -> str:
    """`value` as a plain decimal, at most six places: "19", "-0.5", "0.333333"."""
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.6f}".rstrip("0").rstrip(".")


class _Parser:
    """Recursive descent: sum of products of signed, possibly percent-marked numbers or parentheses."""

    def __init__(self, text: str) -> None:
        self.steps: list[str] = []
        self._tokens = _tokens(text) if len(text) <= MAX_CHARS else []
        self._next = 0

    def parse(self) -> Fraction:
        value = self._sum(0)
        if self._peek():
            raise _NotArithmeticError
        return value

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _sum(self, depth: int) -> Fraction:
        value = self._product(depth)
        while self._peek() in ("+", "-"):
            value = self._apply(value, self._take(), self._product(depth))
        return value

    def _product(self, depth: int) -> Fraction:
        value = self._signed(depth)
        while self._peek() in ("*", "/"):
            value = self._apply(value, self._take(), self._signed(depth))
        return value

    def _signed(self, depth: int) -> Fraction:
        if depth > MAX_DEPTH:
            raise _NotArithmeticError
        if self._peek() in ("+", "-"):
            sign = -1 if self._take() == "-" else 1
            return sign * self._signed(depth + 1)
        value = self._atom(depth)
        if self._peek() == "%":
            self._take()
            value /= 100
        return value

    def _atom(self, depth: int) -> Fraction:
        token = self._take()
        if token == "(":
            value = self._sum(depth + 1)
            if self._take() != ")":
                raise _NotArithmeticError
            return value
        if not token or not (token[0].isdigit() or token[0] == "."):
            raise _NotArithmeticError
        if sum(character.isdigit() for character in token) > MAX_DIGITS:
            raise _NotArithmeticError
        return Fraction(token)

    def _apply(self, left: Fraction, sign: str, right: Fraction) -> Fraction:
        if sign == "/" and right == 0:
            raise _NotArithmeticError
        value = _OPERATIONS[sign](left, right)
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise _NotArithmeticError
        self.steps.append(f"{format_number(left)} {sign} {format_number(right)} = {format_number(value)}")
        return value


def _tokens(text: str) -> list[str]:
    """Numbers (without separators and currency) and signs; empty when anything else is in `text`."""
    text = text.strip().translate(_SIGNS)
    if _LONE_PERCENT.fullmatch(text):
        text = text.rstrip("% ")
    tokens: list[str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return []
        number = match["number"]
        tokens.append(match["sign"] if number is None else re.sub(r"[$,_\s]", "", number))
        position = match.end()
    return tokens
