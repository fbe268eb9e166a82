"""A calibration set whose tokens are weighted: by the tokens at once, or by what is seen of them in each block.

Shapes: N samples, L tokens.
"""

from dataclasses import dataclass, fields, replace

from prune.calib.calibration_set import CalibrationSet
from prune.pruning.token_weights import BlockWeights, TokenWeights, combine


@dataclass(frozen=True)
class WeightedSet(CalibrationSet):
    """A calibration set with weights of its own for each block."""

    by_block: BlockWeights | None = None


def weighted(calibration: CalibrationSet, weights: TokenWeights | None) -> CalibrationSet:
    """The set with each real token weighted; None changes nothing."""
    if weights is None:
        return calibration
    if isinstance(weights, BlockWeights):
        own = {field.name: getattr(calibration, field.name) for field in fields(CalibrationSet)}
        return WeightedSet(**own, by_block=weights)
    tokens_NL, real_NL, before_NL = calibration.tokens_NL, calibration.real_NL, calibration.weights_NL
    weights_NL = combine(before_NL, weights.weigh(tokens_NL, real_NL), real_NL, calibration.parts_N)
    return replace(calibration, weights_NL=weights_NL)
