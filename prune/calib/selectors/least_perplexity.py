"""The candidates that the dense model finds most likely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from prune.calib.perplexity import measure_perplexities
from prune.calib.selection import Pick, Pool, Selector, by_score, told
from prune.config.select import SelectConfig


@dataclass(kw_only=True, slots=True)
class LeastPerplexityConfig(SelectConfig):
    """Takes the rows or windows to which the dense model gives the least perplexity."""

    name: str = "least_perplexity"


@dataclass(frozen=True)
class LeastPerplexity(Selector):
    """Orders by exp(mean cross-entropy of a candidate's tokens but the first), least first.

    A selector of the ZipCal study (arXiv 2603.16105), whose code counts padding as text; here there is none.
    """

    @property
    def needs_model(self) -> bool:
        """Always."""
        return True

    def order(self, pool: Pool) -> Sequence[Pick]:
        """By the perplexity; a candidate of one token, which predicts nothing, comes last."""
        sequences = [candidate.token_ids for candidate in pool.candidates]
        found = measure_perplexities(pool.material.dense(), sequences, pool.material.advance)
        why = [{"perplexity": told(perplexity) if math.isfinite(perplexity) else None} for perplexity in found]
        return by_score([-perplexity for perplexity in found], why)
