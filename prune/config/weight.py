"""The weight axis: what a token counts in the statistics; the knobs of each weighting stand beside its formula."""

from dataclasses import dataclass

from prune.config.checks import reject


@dataclass(kw_only=True, slots=True)
class WeightConfig:
    """Every token counts the same; the other weightings have subclasses with their own knobs."""

    name: str = "none"


@dataclass(kw_only=True, slots=True)
class ScaledConfig(WeightConfig):
    """A score of each token, spread between two weights in each sequence, whose mean is then made 1.

    So only the ratio `min` / `max` matters; where they are equal every token counts the same.
    """

    min: float = 0.005
    """Weight of the token with the lowest score of its sequence; 0: it does not count."""
    max: float = 1.0
    """Weight of the token with the highest score."""

    def __post_init__(self) -> None:
        if self.min < 0:
            reject("weight.min", self.min, "a token counts 0 or more")
        if not self.max >= self.min or self.max == 0:
            reject("weight.max", self.max, f"it must be above 0 and at least weight.min={self.min:g}")
