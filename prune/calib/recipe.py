"""A calibration set's whole description."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune.config.calib import CalibConfig, PromptConfig
from prune.config.data import DataConfig
from prune.config.model import ModelConfig
from prune.data.sources.source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a calibration set is made from."""

    calib: CalibConfig
    prompt: PromptConfig | None
    """None where it does not matter: raw text and controls."""
    data: DataConfig
    model: ModelConfig
    source: Source
    tokenizer: "PreTrainedTokenizerBase"
