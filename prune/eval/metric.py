"""A score: what a kind of score answers for, what is planned, and the measured number in the shape of result.json."""

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from typing import Any, ClassVar, Literal, Protocol

from prune.config.data import DataConfig
from prune.config.eval import EvalConfig, TooLong
from prune.config.extensions import extension_identity
from prune.data.dataset import Hub, RowSet
from prune.data.identity import Identity
from prune.data.sources.source import Source
from prune.eval.overlap import Overlap, Seen
from prune.eval.subject import Subject


class Score(Protocol):
    """One score of a kind: a frozen dataclass of all that changes the number, besides the model and the rows.

    Each kind is a class in a module of its own, which names it as SCORE: see plan.py.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    kind: ClassVar[str]
    """The kind: what the names of its scores begin with."""
    key: ClassVar[str]
    """The key that asks for scores of this kind; `eval.scores` where it has none of its own."""

    @property
    def name(self) -> str:
        """`<kind>/<set>`; lm-eval's tasks end in the metric."""

    @property
    def dataset(self) -> str:
        """The name of the set it is measured on; of lm-eval's own tasks `lm_eval/<task>`."""

    @classmethod
    def asked(cls, config: EvalConfig, data: DataConfig) -> Sequence[str]:
        """What `key` names for this kind: sets, or for lm-eval tasks, groups and tags."""

    @classmethod
    def plan(cls, name: str, config: EvalConfig, data: DataConfig) -> "Sequence[PlannedMetric]":
        """The scores that one of these names stands for; nothing heavy is imported, and no row is read.

        Raises:
            UserError: there is no such set or task, or it cannot be scored.
        """

    def reads(self, data: DataConfig) -> Sequence[tuple[RowSet, str]]:
        """The splits that are read from the source; none where the kind loads its rows by itself."""

    def check_rows(self, source: Source) -> int:
        """Check, before anything runs, that the rows are there and suffice; returns how many the scored split has.

        Raises:
            UserError: they are not there, or do not.
        """

    def measure(self, subject: Subject, source: Source) -> "Measured":
        """The value, its items, and what is measured beside it.

        Raises:
            UserError: rows or the model cannot be used.
        """

    def overlap(self, seen: Seen, source: Source, tokenizer: Any, skipped: Collection[int]) -> Overlap:
        """What the items, but those at the places in `skipped`, share with the calibration set that was `seen`."""


LATER_SETTINGS: dict[str, object] = {"rationale": False, "too_long": TooLong.error, "chat": False, "last_word": False}
"""Settings that came when there were scores already, each at the value that leaves these as they are. At this value it is no
part of a score's identity."""


@dataclass(frozen=True, slots=True)
class PlannedMetric:
    """A metric that is to be measured."""

    settings: Score
    data: Identity
    """Where the rows come from; empty where it reads none."""
    hubs: tuple[Hub, ...] = ()
    """The repositories on the hub of rows that the kind loads by itself."""

    @property
    def name(self) -> str:
        """`ppl/<set>`, `acc/<set>`, `acc_mc/<set>`, `bleu/<set>`, `lm_eval/<task>/<metric>`; `<kind>/<set>` of others."""
        return self.settings.name

    @property
    def dataset(self) -> str:
        """The name of the set it is measured on; of lm-eval's own tasks `lm_eval/<task>`."""
        return self.settings.dataset

    @property
    def asked(self) -> dict[str, Any]:
        """Every setting that changes the number, as plain values; batch size is none of them."""
        kind = type(self.settings)
        settings = {key: value for key, value in asdict(self.settings).items() if (key, value) not in LATER_SETTINGS.items()}
        plain = {key: value.value if isinstance(value, Enum) else value for key, value in settings.items()}
        extension = extension_identity(kind.__module__)
        own = {} if extension is None else {"extension": extension}
        return {"kind": kind.__name__, **plain, **own, "data": dict(self.data)}


SPEED = "speed"
"""The kind of scores that say how fast a model runs, not how good it is: never averaged, never judged."""

ACCURACY = "accuracy"
"""The unit of a share of items answered rightly, 0 to 1."""

LAST_WORD = "bits per byte of the last word"
"""The unit of a score of language modelling, which is averaged with no bits per byte of answers to questions."""


NEUTRAL = frozenset({"batch_size", "dtype", "lm_eval", "parsed_share", "overflow", "semi_structured"})
"""Keys of a protocol that may differ between two scores that are compared: they do not say what was asked. (A model's own
dtype is part of its identity; versions are a warning; the last three are results.)"""


def are_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two metrics, as result.json holds them, were measured in one way on as many items.

    A speed that was taken beside other work is like no other.
    """
    return _asked(first) == _asked(second) and bool(first["protocol"].get("alone", True))


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
    decimals: int = 3
    """Of the number as it is shown: `0.940` of an accuracy, `49.53` of a perplexity."""
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

    def with_protocol(self, more: Mapping[str, Any]) -> "Measured":
        """The same with `more` in the protocol of every metric."""
        metric, *others = [
            replace(each, protocol={**each.protocol, **more}) for each in (self.metric, *self.beside.values())
        ]
        return replace(self, metric=metric, beside=dict(zip(self.beside, others, strict=True)))

    def with_prompt(self, prompt: str) -> "Measured":
        """The same with the prompt of the first item in that item, and its hash in the protocols, which hold no row."""
        items = [{**self.items[0], "prompt": prompt}, *self.items[1:]]
        return replace(self, items=items).with_protocol({"prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest()})


def accuracy(correct: Sequence[bool], chance: float | None, protocol: Mapping[str, Any], items: ItemColumn) -> Metric:
    """The share of items that are answered right."""
    values = [float(one) for one in correct]
    return Metric(
        value=mean(values),
        stderr=mean_stderr(values),
        num_items=len(values),
        higher_is_better=True,
        chance=chance,
        protocol=protocol,
        unit=ACCURACY,
        items=items,
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
