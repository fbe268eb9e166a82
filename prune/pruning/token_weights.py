"""What every token weight offers: how much each token of a calibration set counts in the statistics of the linears.

A weight is one module in weights/: a dataclass `<Name>Config` of its knobs and a class `<Name>` that takes them.

Shapes: N samples, L tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from prune.calib.calibration_set import CalibrationSet


class TokenWeights(Protocol):
    """A way to say what each token counts."""

    def weigh(self, tokens_NL: Tensor, real_NL: Tensor) -> Tensor:
        """float32 N x L, 0 or more, only ratios count; what it says of padding is not looked at."""


def weighted(calibration: CalibrationSet, weights: TokenWeights | None) -> CalibrationSet:
    """The set with each token that counts in it weighted; None changes nothing."""
    if weights is None:
        return calibration
    weights_NL = weights.weigh(calibration.tokens_NL, calibration.real_NL)
    return replace(calibration, weights_NL=calibration.weights_NL * weights_NL)
