"""The trackers by name."""

from pathlib import Path

from prune.config.tracker import TrackerConfig, TrackerMode
from prune.errors import UserError
from prune.track.tracker import NullTracker, Tracker


def build_tracker(config: TrackerConfig, output_dir: Path) -> Tracker:
    """The tracker that the configuration names."""
    if config.name == "none" or (config.name == "wandb" and config.mode is TrackerMode.disabled):
        return NullTracker()
    if config.name == "wandb":
        from prune.track.wandb import WandbTracker

        return WandbTracker(config, output_dir)
    raise UserError(f"tracker.name={config.name} does not exist. Allowed: none, wandb.")
