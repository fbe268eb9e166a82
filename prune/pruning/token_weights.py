"""What every token weight offers: how much each token of a calibration set counts in the statistics of the linears.

A weight is one module in weights/: a dataclass `<Name>Config` of its knobs and a class `<Name>` that takes them. It is a
`SetWeights` if the tokens determine the weights, and a `BlockWeights` if the hidden states do. Padding counts as it does
without a weight.

Shapes: N samples, L tokens, T real tokens of one sequence, H hidden.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias, runtime_checkable

from prune.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class Need(Enum):
    """What a weight looks at beside the tokens and the inputs of a block."""

    outputs = "outputs"
    attention = "attention"


@dataclass(frozen=True)
class Seen:
    """One sequence in a block whose linears are all dense: its real tokens, without padding."""

    tokens_T: Tensor
    """int64."""
    input_TH: Tensor
    """What enters the block; in the model's type."""
    output_TH: Tensor | None
    """What leaves it; for weights that need it."""
    attention_T: Tensor | None
    """Attention that each token receives, summed over the heads and the real queries; for weights that need it."""


@runtime_checkable
class SetWeights(Protocol):
    """What each token counts, by the tokens alone."""

    def weigh(self, tokens_NL: Tensor, real_NL: Tensor) -> Tensor:
        """float32 N x L, 0 or more, only ratios count; its values for padding are ignored."""


@runtime_checkable
class BlockWeights(Protocol):
    """What each token counts, anew in every block."""

    needs: ClassVar[Set[Need]]

    def weigh_block(self, seen: Seen) -> Tensor:
        """float32 T, 0 or more; only ratios inside the sequence count."""


TokenWeights: TypeAlias = SetWeights | BlockWeights


def combine(before_NL: Tensor, weights_NL: Tensor, real_NL: Tensor, parts_N: Tensor | None = None) -> Tensor:
    """What each token counts, N x L: what it counted before, times its weight where it is real.

    Where a set has parts, each is then scaled, so that its tokens together count what they did before.
    """
    after_NL = torch.where(real_NL, before_NL * weights_NL, before_NL)
    for part in sorted(set(parts_N.tolist())) if parts_N is not None else ():
        rows_N = parts_N == part
        after_NL[rows_N] *= kept_total(before_NL[rows_N], after_NL[rows_N])
    return after_NL


def kept_total(before: Tensor, after: Tensor) -> float:
    """The factor that gives weights the sum that they had before; 1 where nothing counts any more."""
    total = float(after.sum(dtype=torch.float64))
    return float(before.sum(dtype=torch.float64)) / total if total else 1.0


def spread(score_T: Tensor, low: float, high: float) -> Tensor:
    """Scores as weights from `low` (the lowest) to `high`; 1 for all where they are equal, or `low` and `high` are.

    Source: RSQ (arXiv 2503.01820), as its code has it: min and max are those of the weight, not of its root.
    """
    score_T = score_T.to(torch.promote_types(score_T.dtype, torch.float32))
    least, most = score_T.min(), score_T.max()
    if low == high or bool(least == most):
        return torch.ones_like(score_T, dtype=torch.float32)
    return (low + (score_T - least) / (most - least) * (high - low)).float()
