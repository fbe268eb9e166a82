"""A report as JSON's own types, for the page."""

import math
from dataclasses import fields, is_dataclass
from typing import Any

from prune.report.model import Report

SIGNIFICANT_DIGITS = 5
DIGITS = {"p": 3, "sd": 3, "stderrs": 3, "jaccard": 3, "error": 3, "difference": 4, "effect": 4, "low": 4, "high": 4}
"""Significant digits of the fields that have fewer than the others."""


def to_plain(report: Report) -> dict[str, Any]:
    """The report as JSON's own types: dataclasses become objects, sequences arrays.

    Numbers are rounded as `DIGITS` says; a number that is not finite becomes None. An array of nothing but None becomes
    None itself (the seeds of a grid without seeds, the sd of rows with one draw).
    """
    plain = _plain(report, SIGNIFICANT_DIGITS)
    assert isinstance(plain, dict)
    return plain


def _plain(value: Any, digits: int) -> Any:
    if isinstance(value, float):
        return _rounded(value, digits)
    if value is None or isinstance(value, str | int):
        return value
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name), DIGITS.get(field.name, digits)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(entry, digits) for key, entry in value.items()}
    entries = [_rounded(entry, digits) if type(entry) is float else _plain(entry, digits) for entry in value]
    return None if entries and all(entry is None for entry in entries) else entries


def _rounded(number: float, digits: int) -> float | int | None:
    """Whole numbers without their `.0`, which saves a tenth of the page."""
    if not math.isfinite(number):
        return None
    short = float(f"{number:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
