"""The candidates that the dense model finds most likely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
        """By the loss; a candidate of one token, which predicts nothing, comes last."""
        from prune.models.losses import sequence_losses

        losses = sequence_losses(pool.material.dense(), [candidate.token_ids for candidate in pool.candidates])
        why = [{"perplexity": told(math.exp(loss)) if math.isfinite(loss) else None} for loss in losses]
        return by_score([-loss for loss in losses], why)
