"""What a merged cell is made of: pruned cells, averaged and pruned back to the asked sparsity."""

import math
from dataclasses import dataclass, field
from enum import Enum

from prune.errors import UserError


class Back(str, Enum):
    """How the average, which has fewer zeros than was asked for, is pruned back."""

    magnitude = "magnitude"
    wanda = "wanda"


@dataclass(kw_only=True, slots=True)
class MergeConfig:
    """The cells that are averaged; none for all other cells."""

    cells: list[str] = field(default_factory=list)
    """Ids of finished cells in output_dir that differ only in their calibration and kept their weights (save)."""
    weights: list[float] | None = None
    """What each cell counts; the sum is 1. None: all the same."""
    back: Back = Back.magnitude
    """wanda takes its statistics from the calibration sets of all of them."""

    def __post_init__(self) -> None:
        if self.weights is not None and len(self.weights) != len(self.cells):
            raise UserError(
                f"merge.weights has {len(self.weights)} numbers and merge.cells {len(self.cells)} cells: give one for each."
            )
        if self.weights is not None and (min(self.weights) <= 0 or not math.isclose(sum(self.weights), 1, abs_tol=1e-6)):
            raise UserError(
                f"merge.weights={self.weights} must be above 0 and sum to 1; their sum is {sum(self.weights):g}."
            )
        if len(self.cells) == 1 or len(set(self.cells)) != len(self.cells):
            raise UserError(f"merge.cells={self.cells} must be two cells or more, each once.")

    @property
    def shares(self) -> list[float]:
        """What each cell counts."""
        return self.weights or [1 / len(self.cells)] * len(self.cells)
