"""Knobs of the local launcher."""

from dataclasses import dataclass, field

from prune.config.launcher import LauncherConfig, check_workers


@dataclass(kw_only=True, slots=True)
class LocalLauncherConfig(LauncherConfig):
    """Runs cells on this machine, which share loaded models and calibration sets."""

    name: str = "local"
    num_workers: int | None = None
    """Processes that run cells, each one cell at a time; None: one for each of `gpus`, or this process."""
    gpus: list[int] = field(default_factory=list)
    """GPUs as nvidia-smi counts them, one for each worker, whatever CUDA_VISIBLE_DEVICES says. Empty: several workers take
    those that it lists, or else all there are, from the first on; this process takes the first."""

    def __post_init__(self) -> None:
        check_workers(self.num_workers, self.gpus)

    @property
    def num_processes(self) -> int:
        """The number of workers, counted out."""
        return self.num_workers or len(self.gpus) or 1
