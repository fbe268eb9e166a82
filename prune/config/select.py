"""The select axis: which rows or windows of a calibration set's pool are taken; each selector's knobs stand beside it."""

from dataclasses import dataclass

from prune.config.checks import require_at_least


@dataclass(kw_only=True, slots=True)
class SelectConfig:
    """Takes the first ones of the draw's shuffle; the other selectors have subclasses with their own knobs."""

    name: str = "random"
    pool: int = 8
    """Candidates for each one that is needed: so many times the windows or rows are drawn, and the selector takes the best
    of them. 1 leaves no choice. Without effect on random."""

    def __post_init__(self) -> None:
        require_at_least("select.pool", self.pool, 1)
