"""The perplexity of a calibration set under the dense model: one forward for a set and a model, kept beside the set."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from prune.config.model import ModelConfig
from prune.errors import DamagedFileError
from prune.files import checksum, read_checked_json, write_checked_json
from prune.models.identity import model_identity
from prune.models.losses import sequence_losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet


def kept_at(folder: Path, model: ModelConfig) -> Path:
    """The file beside a set in `folder` that holds its perplexity under the dense `model`."""
    return folder / f"dense-{checksum(model_identity(model))[:12]}.json"


def set_perplexity(path: Path, model: PreTrainedModel, calibration: CalibrationSet) -> float | None:
    """exp of the mean cross-entropy over all predicted real tokens, from `path` or measured and kept there.

    None where no sequence has two tokens, or the model's numbers overflow.
    """
    if (kept := _read(path)) is not None:
        return kept
    sequences = [ids_L[real_L].tolist() for ids_L, real_L in zip(calibration.tokens_NL, calibration.real_NL, strict=True)]
    predicted = [max(len(ids) - 1, 0) for ids in sequences]
    found = zip(sequence_losses(model, sequences), predicted, strict=True)
    total = math.fsum(loss * number for loss, number in found if number)
    value = math.exp(min(total / sum(predicted), 700.0)) if sum(predicted) else math.nan
    if not math.isfinite(value):
        return None
    about = {"num_tokens": sum(predicted), "dtype": str(model.dtype), "device": str(model.device)}
    write_checked_json(path, {"perplexity": value, **about})
    return value


def _read(path: Path) -> float | None:
    try:
        kept = read_checked_json(path)
    except DamagedFileError:
        return None
    return None if kept is None else float(kept["perplexity"])
