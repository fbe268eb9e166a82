"""Numbers and names as the report prints them."""

from collections.abc import Sequence

from prune.report.compare.statistics import ALPHA
from prune.report.model import Report
from prune.report.numbers import OF_DRAWS


def names(labels: Sequence[str], most: int = 3) -> str:
    """`a, b, c and 2 more`."""
    shown = ", ".join(labels[:most])
    return f"{shown} and {len(labels) - most} more" if len(labels) > most else shown


def star(p: float | None, basis: int, text: str = "*") -> str:
    """`*` for a difference beyond noise, `(*)` where the noise is that of the items only (one draw), else empty."""
    if p is None or p >= ALPHA:
        return ""
    return text if basis in OF_DRAWS else f"({text})"


def row_label(report: Report, row: int) -> str:
    """`gsm8k-icl`, `c4`; the method where there is no calibration data."""
    calib, rows = report.rows.calib[row], report.rows
    name = report.groups[rows.group[row]].method if calib is None else report.calibs[calib].name
    data = "-".join(filter(None, (name, rows.prompt[row], rows.select[row], rows.weight[row])))
    return " ".join(part for part in (data, rows.knobs[row]) if part)


def format_value(decimals: int, value: float, sign: str = "") -> str:
    """`49.53`, `0.940`, with a metric's number of decimals; a number that rounds to 0 has no sign."""
    text = format(value, f"{sign}.{decimals}f")
    return text.lstrip("+-") if float(text) == 0 else text


def format_p(p: float) -> str:
    """`0.031`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
