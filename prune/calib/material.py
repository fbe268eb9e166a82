"""What the kinds of calibration sets draw from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prune.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.encoder import Encoder
    from prune.config.data import DataConfig
    from prune.data.sources.source import Source


def no_model() -> PreTrainedModel:
    """Never return: it stands for the dense model where a set is made without one.

    Raises:
        UserError: always.
    """
    raise UserError("This calibration set is made with the help of the model, and none was given.")


def unwatched(done: int, total: int) -> None:
    """Do nothing with progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class Material:
    """Rows, a tokenizer, and for the kinds that need it the dense model."""

    source: Source
    encoder: Encoder
    data: DataConfig
    dense: Callable[[], PreTrainedModel] = no_model
    """Loads the model at its first call."""
    advance: Callable[[int, int], None] = unwatched
    """Called with (done, total) while the model is at work."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Step -> the seconds that it took, added by the code that takes them: selectors add to `select`."""
