"""Types of the numbers in a report, and the noises that a comparison includes."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

Numbers = Sequence[float | None]
"""A column of numbers."""


class Basis(IntEnum):
    """The noises that the interval and p of a comparison include."""

    NONE = 0
    """Nothing: no interval, no p."""
    ITEMS = 1
    """The items that both sides share, paired. The noise of draws is unknown: a side has one draw."""
    ITEMS_AND_SEEDS = 2
    """The items, paired, and the spread over the draws of both sides (none where a side, like dense, has no draws)."""
    STDERR = 3
    """The standard errors of both sides, as if their items were independent (wider than paired). One draw, as ITEMS."""
    STDERR_AND_SEEDS = 4
    """As STDERR, and the spread over the draws of both sides."""
    SEEDS = 5
    """The spread over the draws of both sides alone: the metric has no items, or no standard error."""


OF_DRAWS = (Basis.ITEMS_AND_SEEDS, Basis.STDERR_AND_SEEDS, Basis.SEEDS)
"""The bases of a claim on sets: it needs the noise of the draws of both sides."""
