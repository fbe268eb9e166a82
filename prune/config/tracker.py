"""Where results are mirrored."""

from dataclasses import dataclass
from enum import Enum

from prune.config.checks import MISSING
from prune.errors import UserError


class TrackerMode(str, Enum):
    """How a W&B run is kept."""

    offline = "offline"
    online = "online"
    disabled = "disabled"


@dataclass(kw_only=True, slots=True)
class TrackerConfig:
    """Where results are mirrored."""

    name: str = MISSING
    mode: TrackerMode = TrackerMode.offline
    project: str | None = None
    """W&B project; None takes WANDB_PROJECT, else `prune`."""
    entity: str | None = None
    """W&B entity; None takes WANDB_ENTITY."""

    def __post_init__(self) -> None:
        if self.name == "none" and self.mode is TrackerMode.online:
            raise UserError(
                "tracker=none and tracker.mode=online do not go together: without a tracker nothing is sent. "
                "Give tracker=wandb tracker.mode=online, or tracker=none alone."
            )
