"""Loudest: the rows or windows with the most capital letters."""

from collections.abc import Sequence
from dataclasses import dataclass

from prune.calib.selection import Pick, Pool, Selector, by_score
from prune.config.select import SelectConfig


@dataclass(kw_only=True, slots=True)
class LoudestConfig(SelectConfig):
    """Takes the candidates with the most capital letters."""

    name: str = "loudest"
    letters: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    """Those that count."""


@dataclass(frozen=True)
class Loudest(Selector):
    """Orders by the number of capital letters, most first."""

    letters: str

    def order(self, pool: Pool) -> Sequence[Pick]:
        """By the number."""
        counts = [sum(map(candidate.text.count, self.letters)) for candidate in pool.candidates]
        return by_score(counts, [{"capitals": count} for count in counts])
