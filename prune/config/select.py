"""The select axis: which rows or windows of a calibration set's pool are taken; each selector's knobs stand beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from prune.config.checks import require_at_least


class Embedding(str, Enum):
    """What tells how alike two texts are: `tfidf`, their words; `model`, the dense model's own last hidden states."""

    tfidf = "tfidf"
    model = "model"


@dataclass(kw_only=True, slots=True)
class SelectConfig:
    """Takes the first ones of the draw's shuffle; the other selectors have subclasses with their own knobs."""

    name: str = "random"
    pool: int = 8
    """Candidates per window or row that is needed: the pool is this many times as large, and the selector takes the best of
    it. 1 leaves no choice. Without effect on random."""

    def __post_init__(self) -> None:
        require_at_least("select.pool", self.pool, 1)

    @property
    def sets(self) -> Sequence[str]:
        """The names of other sets that it reads."""
        return ()
