"""The weight axis: what a token counts in the statistics; the knobs of each weighting stand beside its formula."""

from dataclasses import dataclass


@dataclass(kw_only=True, slots=True)
class WeightConfig:
    """Every token counts the same; the other weightings have subclasses with their own knobs."""

    name: str = "none"
