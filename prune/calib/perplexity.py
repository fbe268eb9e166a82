"""The perplexity filter keeps the candidates that the dense model finds likeliest.

Source: Ji et al. 2025, arXiv 2410.17711, sample_ppl.py of Dereck0602/calibration_data: exp(mean cross-entropy) over the
whole text; what lies below the 80th percentile stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from prune.errors import UserError
from prune.lazy import torch
from prune.models.losses import sequence_losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Filtered:
    """Which candidates stay."""

    places: list[int]
    """Ascending."""
    threshold: float
    """The highest perplexity that stays."""


def num_staying(num_candidates: int, keep_share: float) -> int:
    """The whole number of candidates in their share; decimal, so that 0.8 of 5 are 4."""
    return math.floor(Fraction(str(keep_share)) * num_candidates)


def num_candidates(num_needed: int, keep_share: float) -> int:
    """The fewest candidates of which `num_needed` stay."""
    return math.ceil(num_needed / Fraction(str(keep_share)))


def keep_likeliest(perplexities: Sequence[float], num_kept: int) -> Filtered:
    """The `num_kept` candidates with the lowest perplexity; of equal ones the first."""
    best = sorted(range(len(perplexities)), key=lambda place: perplexities[place])[:num_kept]
    return Filtered(sorted(best), perplexities[best[-1]])


def measure_perplexities(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], advance: Callable[[int, int], None]
) -> list[float]:
    """exp(mean cross-entropy of all tokens but the first) of each sequence; infinite for one of fewer than two tokens.

    Raises:
        UserError: a loss is not a number, or there is no memory for a single sequence.
    """
    losses = sequence_losses(model, sequences, advance)
    if any(math.isnan(loss) for loss in losses):
        raise UserError(
            "The dense model's loss on a calibration candidate is not a number, so candidates cannot be compared by it. "
            "Take "
            "another model.dtype, as in model.dtype=float32."
        )
    return [math.exp(min(loss, 700.0)) if math.isfinite(loss) else math.inf for loss in losses]  # a float ends beyond 700


def describe_place(model: PreTrainedModel) -> dict[str, Any]:
    """What a model computes on: its device, the type of its weights, and the version of PyTorch."""
    device = model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    about = {"device": device.type, "dtype": str(model.dtype).removeprefix("torch."), "torch": str(torch.__version__)}
    return about | ({"device_name": name} if name else {})
