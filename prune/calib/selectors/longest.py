"""The candidates with the most tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from prune.calib.selection import Pick, Pool, Selector, by_score
from prune.config.select import SelectConfig


@dataclass(kw_only=True, slots=True)
class LongestConfig(SelectConfig):
    """Takes the longest documents or rows of the pool."""

    name: str = "longest"


@dataclass(frozen=True)
class Longest(Selector):
    """Orders by the number of tokens, most first."""

    def order(self, pool: Pool) -> Sequence[Pick]:
        """By length: that of the whole document where a candidate is a window of it."""
        lengths = [candidate.num_tokens for candidate in pool.candidates]
        return by_score(lengths, [{"num_tokens": length} for length in lengths])
