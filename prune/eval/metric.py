"""One measured number, in the shape that result.json keeps it."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from typing import Any, ClassVar, Literal, Protocol

from prune.eval.questions.prompt import LATER_SETTINGS

Progress = Callable[[int, int], None]
"""Called with (items done, items in all)."""


class Settings(Protocol):
    """All that changes a score, besides the model and the rows: a dataclass, one for each kind of score."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def dataset(self) -> str:
        """The name of the set it is measured on."""


@dataclass(frozen=True, slots=True)
class PlannedMetric:
    """A metric that is to be measured."""

    name: str
    """`ppl/<set>`, `acc/<set>`, `acc_mc/<set>`, `bleu/<set>` or `lm_eval/<task>/<metric>`."""
    settings: Settings
    data: dict[str, str | None]
    """Where the rows come from."""

    @property
    def dataset(self) -> str:
        """The name of the set it is measured on; of lm-eval's own tasks `lm_eval/<task>`."""
        return self.settings.dataset

    @property
    def asked(self) -> dict[str, Any]:
        """Every setting that changes the number, as plain values; batch size is none of them."""
        settings = {key: value for key, value in asdict(self.settings).items() if (key, value) not in LATER_SETTINGS.items()}
        plain = {key: value.value if isinstance(value, Enum) else value for key, value in settings.items()}
        return {"kind": type(self.settings).__name__, **plain, "data": dict(self.data)}


ACCURACY = "accuracy"
"""The unit of a share of items answered rightly, 0 to 1."""


OF_HUNDRED = ("BLEU", "chrF", "TER")
"""Units that go to 100."""

NEUTRAL = frozenset({"batch_size", "dtype", "lm_eval", "parsed_share", "overflow"})
"""Keys of a protocol that may differ between two scores that are compared: they do not say what was asked. (A model's own
dtype is part of its identity; versions are a warning; the last two are results.)"""


def decimals(unit: str, scale: str) -> int:
    """The decimals that a score is shown with: `49.53` of a perplexity or BLEU, `0.940` of an accuracy."""
    return 2 if scale == "log" or unit in OF_HUNDRED else 3


def are_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two metrics, as result.json holds them, were measured in one way on as many items."""
    return _asked(first) == _asked(second)


def _asked(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    protocol = {key: value for key, value in entry["protocol"].items() if key not in NEUTRAL}
    return (protocol, *(entry.get(key) for key in ("num_items", "unit", "scale", "higher_is_better")))


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemColumn:
    """Where each item's part in a value stands. The value is their mean, on the log scale its logarithm is."""

    metric: str
    """The metric under whose name the items are kept."""
    keys: Sequence[str]
    """From an item to the number: `["correct"]`, `["scores", "acc"]`."""
    weight_keys: Sequence[str] | None = None
    """From an item to its weight in the mean, like its number of words; None: all count alike."""


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
    unit: str
    """What one is a unit of: `accuracy`, `perplexity per token`, `BLEU`. Scores of two units are never averaged."""
    scale: Literal["linear", "log"] = "linear"
    """`log`: the exponential of a mean, like a perplexity. Such scores are compared by their logarithms."""
    items: ItemColumn | None = None
    """The items behind the value; None where it is no mean over items."""

    @property
    def is_log(self) -> bool:
        """Whether it is compared by its logarithm, as the exponential of a mean."""
        return self.scale == "log"

    @property
    def compared(self) -> float:
        """The number that is averaged and compared: the value, or its logarithm."""
        return math.log(self.value) if self.is_log else self.value

    def to_dict(self) -> dict[str, Any]:
        """The metric as in result.json."""
        return {**asdict(self), "protocol": dict(self.protocol)}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "Metric":
        """The metric of an entry in result.json."""
        known = {field.name: entry[field.name] for field in fields(cls)}
        return cls(**known | {"items": known["items"] and ItemColumn(**known["items"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A metric with its items, one dictionary each with an `id`, for paired comparison."""

    metric: Metric
    items: list[dict[str, Any]]
    beside: Mapping[str, Metric] = field(default_factory=dict)
    """Further metrics of the same items by their names, like a length-normalised accuracy."""

    def with_prompt(self, prompt: str) -> "Measured":
        """The same with the prompt of the first item in that item, and its hash in the protocols, which hold no row."""

        def told(metric: Metric) -> Metric:
            return replace(
                metric, protocol={**metric.protocol, "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest()}
            )

        items = [{**self.items[0], "prompt": prompt}, *self.items[1:]]
        return Measured(
            metric=told(self.metric), items=items, beside={name: told(metric) for name, metric in self.beside.items()}
        )


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
