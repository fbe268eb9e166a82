"""A mixture of calibration sets: how many sequences each part gives, and how much it counts."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from prune.errors import UserError, nearest

MIXTURES = ("mix", "mix_all")
"""The options of `calib` that are made of parts."""
OWN_PART = "file"
"""The part that takes its rows from calib.path."""
TOLERANCE = 0.0015
"""By how much shares may miss 1, as 0.333 three times does."""
_SHOWN = 4
"""The most parts that a name lists."""
_AS_IN = "as in 'calib.parts={c4: 0.5, gsm8k: 0.5}'"


@dataclass(kw_only=True)
class MixtureConfig:
    """Knobs of calib=mix; the other sets ignore them, so that one line may compare it with these.

    No slots, so that it stands beside another base.
    """

    parts: Any = None
    """Set -> its share of calib.num_samples (a number with a point; they sum to 1), or its number of sequences (a whole
    number; they sum to calib.num_samples). null shares equally what the others leave; 0 leaves the set out."""
    weights: Any = None
    """Part -> what it counts in the statistics, however many tokens it has; they sum to 1, and 0 leaves the part out. null:
    every token counts the same."""


@dataclass(frozen=True, slots=True)
class Portions:
    """What a mixture is made of, sorted by name."""

    counts: Mapping[str, int]
    """Part -> its sequences, at least 1."""
    weights: Mapping[str, float]
    """Part -> what it counts, above 0, 1 together; empty where every token counts the same."""

    @property
    def num_samples(self) -> int:
        """The sequences of all parts together."""
        return sum(self.counts.values())

    def describe(self) -> str | None:
        """`c4+gsm8k` of equal parts, else `c4:0.25+gsm8k:0.75`, with weights `c4@0.3+gsm8k@0.7`; None of too many parts."""
        if len(self.counts) > _SHOWN:
            return None
        alike = are_equal(self.counts.values())
        shares = {name: "" if alike else f":{size / self.num_samples:.2g}" for name, size in self.counts.items()}
        weights = {name: f"@{weight:.3g}" for name, weight in self.weights.items()}
        return "+".join(f"{name}{shares[name]}{weights.get(name, '')}" for name in self.counts)


def are_equal(counts: Collection[int]) -> bool:
    """Whether parts of these numbers of sequences are equal ones: a sequence cannot be cut, so they may differ by one."""
    return max(counts) - min(counts) <= 1


def portions(config: MixtureConfig, num_samples: int) -> Portions:
    """The parts of a mixture that count: those of share, number or weight 0 are gone.

    Raises:
        UserError: the parts do not make up `num_samples`, or the weights are not those of the parts.
    """
    counts = part_counts(_mapping("parts", config.parts), num_samples)
    given = _mapping("weights", config.weights)
    weights = _part_weights(given, counts) if given else {}
    kept = {name: count for name, count in counts.items() if not weights or weights[name] > 0}
    counting = {name: weight for name, weight in weights.items() if weight > 0}
    return Portions(kept, counting if len(kept) > 1 else {})


def _mapping(key: str, value: object) -> Mapping[str, object]:
    """What a line gives; nothing for null."""
    if value is not None and not isinstance(value, Mapping):
        raise UserError(f"calib.{key}={value} is not possible: it must map sets to numbers, {_AS_IN.replace('parts', key)}.")
    return {str(name): each for name, each in (value or {}).items()}


def part_counts(parts: Mapping[str, object], num_samples: int) -> dict[str, int]:
    """Part -> its sequences, at least 1, sorted by name; shares are rounded by largest remainder, ties by name.

    Raises:
        UserError: they do not make up `num_samples`, or a part would get none.
    """
    amounts = _amounts({name: parts[name] for name in sorted(parts)}, num_samples)
    counts = {name: math.floor(amount) for name, amount in amounts.items()}
    by_remainder = sorted(amounts, key=lambda name: counts[name] - amounts[name])
    for name in by_remainder[: num_samples - sum(counts.values())]:
        counts[name] += 1
    if empty := [name for name, count in counts.items() if count == 0]:
        raise UserError(
            f"calib.parts: {', '.join(empty)} would get none of calib.num_samples={num_samples} sequences. Raise "
            f"calib.num_samples or the share, or leave the set out with calib.parts.{empty[0]}=0."
        )
    return counts


def _amounts(parts: Mapping[str, object], num_samples: int) -> dict[str, float]:
    """Part -> the sequences that it would get if they could be cut; they sum to `num_samples`."""
    for name, value in parts.items():
        _check_part(name, value)
    given = {name: value for name, value in parts.items() if value is not None and value != 0}
    rest = [name for name, value in parts.items() if value is None]
    if not given and not rest:
        raise UserError(f"calib=mix needs its parts, {_AS_IN}: sets with shares that sum to 1, or with whole numbers.")
    numbers: dict[str, float] = {name: value for name, value in given.items() if isinstance(value, int | float)}
    whole = [name for name, value in numbers.items() if isinstance(value, int)]
    if 0 < len(whole) < len(numbers):
        raise UserError(
            f"calib.parts={_written(parts)} holds shares and numbers of sequences ({whole[0]}: {numbers[whole[0]]}). Give "
            "one kind: a share has a point, as in 1.0."
        )
    total, slack = (num_samples, 0.0) if whole else (1, TOLERANCE)
    left = total - math.fsum(numbers.values())
    if left < -slack or (left > slack and not rest):
        raise UserError(_wrong_sum(parts, total - left, num_samples if whole else None))
    scale = num_samples / (total if rest else total - left)
    amounts = {name: value * scale for name, value in numbers.items()}
    amounts |= {name: max(left, 0) * scale / len(rest) for name in rest}
    return {name: round(amounts[name], 9) for name in sorted(amounts)}


def _wrong_sum(parts: Mapping[str, object], found: float, num_samples: int | None) -> str:
    """Says what the values sum to; they are numbers of sequences where `num_samples` is given."""
    wanted = "shares must sum to 1"
    if num_samples is not None:
        wanted = f"numbers of sequences must sum to calib.num_samples={num_samples} (a share has a point, as in 1.0)"
    return f"calib.parts={_written(parts)} is not possible: its values sum to {found:g}, and {wanted}, {_AS_IN}."


def _check_part(name: str, value: object) -> None:
    if name in MIXTURES:
        raise UserError(f"calib.parts: {name} is a mixture itself. Name the sets that it is made of, {_AS_IN}.")
    if value is not None and not _is_amount(value):
        raise UserError(
            f"calib.parts.{name}={value} is not possible: it must be a share such as 0.5, a whole number of sequences, or "
            "null for an equal part of what the others leave."
        )


def _part_weights(weights: Mapping[str, object], counts: Mapping[str, int]) -> dict[str, float]:
    """Part -> what it counts, 1 together, sorted by name."""
    listed = f"The parts are {', '.join(counts)}."
    for name, value in weights.items():
        if not _is_amount(value):
            raise UserError(f"calib.weights.{name}={value} is not possible: it must be a number from 0 to 1.")
        if name not in counts and value != 0:
            raise UserError(f"calib.weights: {name} is no part that gives sequences. {nearest(name, counts)}{listed}")
    if lacking := [name for name in counts if name not in weights]:
        raise UserError(f"calib.weights says nothing of {', '.join(lacking)}. Give each part one; 0 leaves it out. {listed}")
    values = {name: float(value) for name in counts if isinstance(value := weights[name], int | float)}
    total = math.fsum(values.values())
    if abs(total - 1) > TOLERANCE:
        raise UserError(
            f"calib.weights={_written(weights)} is not possible: its values sum to {total:g}, and must sum to 1, as in "
            "'calib.weights={c4: 0.3, gsm8k: 0.7}'."
        )
    return {name: round(value / total, 12) for name, value in values.items()}


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _written(parts: Mapping[str, object]) -> str:
    """The mapping as it is typed."""
    return "{" + ", ".join(f"{name}: {'null' if value is None else value}" for name, value in parts.items()) + "}"
