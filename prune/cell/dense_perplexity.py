"""The perplexity of a calibration set under the dense model: one forward for a set and a model, kept beside the set."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prune.config.model import ModelConfig
from prune.errors import DamagedFileError
from prune.eval.engine.losses import next_token_losses
from prune.files import checksum, read_checked_json, write_checked_json
from prune.lazy import torch
from prune.models.identity import model_identity

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet


def kept_at(folder: Path, model: ModelConfig) -> Path:
    """The file beside a set in `folder` that holds its perplexity under the dense `model`."""
    return folder / f"dense-{checksum(model_identity(model))[:12]}.json"


def set_perplexity(path: Path, model: PreTrainedModel, calibration: CalibrationSet, batch_size: int) -> float | None:
    """exp of the mean cross-entropy over all predicted real tokens, from `path` or measured and kept there.

    None where no sequence has two tokens, or the model's numbers overflow.
    """
    if (kept := _read(path)) is not None:
        return kept
    losses = [losses_BL.double().sum().item() for losses_BL in _losses(model, calibration, batch_size)]
    num_predicted = int((calibration.real_NL.sum(dim=1) - 1).clamp(min=0).sum())
    value = math.exp(min(math.fsum(losses) / num_predicted, 700.0)) if num_predicted else math.nan
    if not math.isfinite(value):
        return None
    about = {"num_tokens": num_predicted, "dtype": str(model.dtype), "device": str(model.device)}
    write_checked_json(path, {"perplexity": value, **about})
    return value


def _losses(model: PreTrainedModel, calibration: CalibrationSet, batch_size: int) -> Iterator[Tensor]:
    """The losses of batches of sequences that have equally many real tokens, so that none needs padding."""
    lengths_N = calibration.real_NL.sum(dim=1)
    with torch.inference_mode():
        for length in sorted(set(lengths_N.tolist())):
            rows_N = lengths_N == length
            ids = calibration.tokens_NL[rows_N][calibration.real_NL[rows_N]].view(-1, length)
            for batch_BL in torch.split(ids, batch_size) if length > 1 else ():
                yield next_token_losses(model, batch_BL.to(model.device))


def _read(path: Path) -> float | None:
    try:
        kept = read_checked_json(path)
    except DamagedFileError:
        return None
    return None if kept is None else float(kept["perplexity"])
