"""Types of the numbers in a report, and what a comparison's noise takes into account."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

Numbers = Sequence[float | None]
"""A column of numbers."""


class Basis(IntEnum):
    """What the interval and p of a comparison take into account."""

    NONE = 0
    """Nothing: no interval, no p."""
    ITEMS = 1
    """The items that both sides share, paired. Seed noise is unknown: one side or both have one seed."""
    ITEMS_AND_SEEDS = 2
    """The items, paired, and the spread over the seeds of both sides (none where a side, like dense, has no seed)."""
    STDERR = 3
    """The standard errors of both sides, as if their items were independent (wider than paired). Seed noise is unknown."""
    STDERR_AND_SEEDS = 4
    """As STDERR, and the spread over the seeds of both sides."""
    SEEDS = 5
    """The spread over the seeds of both sides alone: the metric has no items, or no standard error."""


OF_DRAWS = (Basis.ITEMS_AND_SEEDS, Basis.STDERR_AND_SEEDS, Basis.SEEDS)
"""What a claim on sets needs: the noise of the draws of both sides."""
