"""A calibration set: N sequences of L tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class CalibrationSet:
    """N sequences of L tokens, what each token counts, and the record of where they came from."""

    tokens_NL: Tensor
    """int64."""
    real_NL: Tensor
    """bool, True = a token of the text, False = padding."""
    weights_NL: Tensor
    """float32, what a token counts in every statistic; 0 = not at all."""
    id: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds that making it took, by step, where worth telling; not part of its identity."""
    parts_N: Tensor | None = None
    """int64, the part of each sequence, where the weights of each part have a sum of their own to keep."""

    @classmethod
    def of_tokens(cls, tokens_NL: Tensor, real_NL: Tensor | None = None) -> CalibrationSet:
        """A set of any tokens in which every real one counts 1; without `real_NL` all are real."""
        if real_NL is None:
            real_NL = torch.ones_like(tokens_NL, dtype=torch.bool)
        return cls(tokens_NL, real_NL, real_NL.float())

    def attended(self) -> Tensor:
        """bool N x L, what the attention sees: real tokens, whatever they count, and padding that counts (compat=study)."""
        return self.real_NL | (self.weights_NL > 0)
