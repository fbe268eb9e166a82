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


def build_tracker_of_line(config: TrackerConfig, output_dir: Path) -> Tracker:
    """The same for the cells of a line: what is sent is sent beside them."""
    if config.name == "wandb" and config.mode is TrackerMode.online:
        from prune.track.beside import TrackerBeside

        return TrackerBeside(config, output_dir)
    return build_tracker(config, output_dir)
