"""The candidates with the most tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prune.calib.selection import Pick, Pool
from prune.config.data import DataConfig
from prune.config.select import SelectConfig
from prune.data.dataset import RowSet


@dataclass(kw_only=True, slots=True)
class LongestConfig(SelectConfig):
    """Takes the longest documents or rows of the pool."""

    name: str = "longest"


@dataclass(frozen=True)
class Longest:
    """Orders by the number of tokens, most first."""

    needs_model: ClassVar[bool] = False

    def identity(self, data: DataConfig) -> Mapping[str, Any]:
        """Nothing beside the knobs."""
        return {}

    def reads(self) -> Sequence[tuple[RowSet, str]]:
        """No other set."""
        return ()

    def order(self, pool: Pool) -> Sequence[Pick]:
        """By length."""
        lengths = [candidate.num_tokens for candidate in pool.candidates]
        order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        return [Pick(index, {"num_tokens": lengths[index]}) for index in order]
