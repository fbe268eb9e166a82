"""One measured number, in the shape that result.json keeps it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A value with its uncertainty and everything that one must know to compare it with another."""

    value: float
    """Always finite: JSON has no infinity."""
    stderr: float | None
    """Standard error of the value; None when there is one item only."""
    num_items: int
    higher_is_better: bool
    chance: float | None
    """What guessing scores; None where guessing has no meaning."""
    protocol: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The metric as in result.json."""
        return {**asdict(self), "protocol": dict(self.protocol)}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "Metric":
        """The metric of an entry in result.json."""
        return cls(**{field.name: entry[field.name] for field in fields(cls)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A metric with its items, one dictionary each with an `id`, for paired comparison."""

    metric: Metric
    items: list[dict[str, Any]]
    beside: Mapping[str, Metric] = field(default_factory=dict)
    """Further metrics of the same items by their names, like a length-normalised accuracy."""


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean of at least one value."""
    return math.fsum(values) / len(values)


def mean_stderr(values: Sequence[float]) -> float | None:
    """The standard error of the mean, sqrt(sum((x - mean)^2) / (n - 1) / n); None for a single value.

    For 0/1 values this is sqrt(p(1 - p) / (n - 1)), the number that lm-eval reports.
    """
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1) / len(values))
