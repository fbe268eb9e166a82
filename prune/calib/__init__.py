"""Calibration sets: rows become prompts, prompts become tokens, and the tokens are kept on disk for every cell.

prompts: which rows, as which text. packing: pairs -> sequences. windows: documents and controls -> sequences. build: a whole
set with its manifest. store: the set on disk. identity: which configurations share a set.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune.calib.identity import calibration_id, canonical_calibration
from prune.calib.prompts import check_applicable, prompt_matters
from prune.config import CalibConfig, DataConfig, ModelConfig, PromptConfig

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from prune.data.source import Source

__all__ = [
    "CalibrationSet",
    "calibration_id",
    "canonical_calibration",
    "check_applicable",
    "load_or_build",
    "prompt_matters",
]


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


def load_or_build(
    calib: CalibConfig,
    prompt: PromptConfig | None,
    data: DataConfig,
    model: ModelConfig,
    source: Source,
    tokenizer: PreTrainedTokenizerBase,
    output_dir: Path,
) -> CalibrationSet:
    """The calibration set, from output_dir/calib/<id>/ if it is there, else built, stored there whole, and read back.

    A stored set is used byte for byte and checked against its manifest; it is never built anew behind the user's back.

    Raises:
        NotApplicableError: the prompt means nothing on this set.
        UserError: too few rows, no document long enough, a stored set that is damaged or was made with another tokenizer, a
            folder that cannot be written.
    """
    # torch, only when tokens are needed
    from prune.calib.build import Recipe
    from prune.calib.store import load_or_build as load_or_build_stored

    if not prompt_matters(calib):
        prompt = None
    if prompt is not None:
        check_applicable(calib, prompt)
    return load_or_build_stored(Recipe(calib, prompt, data, model, source, tokenizer), output_dir)
