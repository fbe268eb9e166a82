"""The effect of rounding on a method's perplexity, as measured by bench/rounding.py, for a report's warnings."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune.errors import UserError
from prune.files import read_json

FILE = "rounding.json"
"""File name of the measurements in a folder of results."""

NEGLIGIBLE = 1e-4
"""A spread of the loss too small for a report to show."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run; without rounding all runs of a measurement, on the same tokens, would have the same result."""

    name: str
    batch_size: int
    is_reversed: bool
    """Whether the samples came in reverse order."""
    loss: float
    """ln(perplexity)."""
    mask_difference: float
    """Share of all weights in its mask or in the first run's, but not in both."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """The runs of one method on one model."""

    model: str
    method: str
    sparsity: str
    metric: str
    num_samples: int
    seq_len: int
    runs: Sequence[Run]

    @property
    def place(self) -> tuple[str, str, str]:
        """Model, method and sparsity, as on the axes of a cell."""
        return self.model, self.method, self.sparsity

    @property
    def spread(self) -> float:
        """The largest difference in loss between two runs."""
        losses = [run.loss for run in self.runs]
        return max(losses) - min(losses)

    def describe(self) -> str:
        """One sentence."""
        lowest, highest = (math.exp(end(run.loss for run in self.runs)) for end in (min, max))
        mask = max(run.mask_difference for run in self.runs)
        what = f"{self.metric} of {self.method} at {self.sparsity} on {self.model}"
        how = f"one calibration set of {self.num_samples} x {self.seq_len} tokens, {len(self.runs)} batch sizes and orders"
        return (
            f"Rounding alone moves {what} between {lowest:.4g} and {highest:.4g}, by {100 * math.expm1(self.spread):.2g} % "
            f"({how}; up to {100 * mask:.2g} % of the weights are in one mask only). A smaller difference between two "
            "single runs is within the noise of rounding; the spread over draws contains it."
        )


def read_rounding(path: Path) -> list[Rounding]:
    """The measurements in a file; empty without the file.

    Raises:
        UserError: the file is damaged.
    """
    plain = read_json(path)
    try:
        return [_read(one) for one in plain["measured"]] if plain else []
    except (KeyError, TypeError, AttributeError) as error:
        fault = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} is damaged ({fault}). Remove it, or measure again: python -m bench.rounding") from None


def _read(plain: dict[str, Any]) -> Rounding:
    return Rounding(**{**plain, "runs": [Run(**run) for run in plain["runs"]]})


def rounding_notes(outputs: Path, places: Collection[tuple[str, str, str]]) -> list[str]:
    """A sentence on each measurement in `outputs` that is of one of `places` (model, method, sparsity) and matters."""
    try:
        measured = read_rounding(outputs / FILE)
    except UserError as error:
        return [str(error)]
    return [one.describe() for one in measured if one.place in places and one.spread >= NEGLIGIBLE]
