"""A calibration set: N sequences of L tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class CalibrationSet:
    """N sequences of L tokens, with the record of where they came from."""

    id: str
    tokens_NL: Tensor
    """int64."""
    mask_NL: Tensor
    """bool, True = real token, False = padding."""
    manifest: dict[str, Any]
    padding_in_statistics: bool = False
    """compat=study: padding counts in the statistics as if it were text."""

    @property
    def counted_mask(self) -> Tensor:
        """N x L, True = the token is attended and enters the statistics."""
        return self.mask_NL | self.padding_in_statistics
