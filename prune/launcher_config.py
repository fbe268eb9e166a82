"""The typed configuration of the launchers: where the cells of a sweep run, and what the same line does next time."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from prune.checks import MISSING
from prune.errors import UserError


class Retry(str, Enum):
    """What a line does with cells that were tried before."""

    none = "none"
    """Leave failed cells alone; run only those that were never tried."""
    failed = "failed"
    """Run failed cells again, and those that are missing."""
    all = "all"
    """Run every cell again. Earlier results are moved to outputs/replaced, not lost."""


@dataclass(kw_only=True, slots=True)
class LauncherConfig:
    """Where cells run; each launcher has a subclass with its own knobs."""

    name: str = MISSING
    retry: Retry = Retry.failed


@dataclass(kw_only=True, slots=True)
class LocalLauncherConfig(LauncherConfig):
    """On this machine, sharing loaded models and calibration sets."""

    name: str = "local"
    num_workers: int | None = None
    """Processes that run cells, each one cell at a time; None: one for each of `gpus`, or this process."""
    gpus: list[int] = field(default_factory=list)
    """GPUs as nvidia-smi counts them, one for each worker, whatever CUDA_VISIBLE_DEVICES says. Empty: several workers take
    those that it lists, or else all there are, from the first on; this process takes the first."""

    def __post_init__(self) -> None:
        _require("launcher.num_workers", self.num_workers, self.num_workers is None or self.num_workers >= 1, "at least 1")
        if len(set(self.gpus)) < len(self.gpus) or any(gpu < 0 for gpu in self.gpus):
            raise UserError(f"launcher.gpus={self.gpus} is not possible: each GPU once, counted from 0.")
        if self.gpus and self.num_processes > len(self.gpus):
            raise UserError(
                f"launcher.num_workers={self.num_workers} is more than launcher.gpus={self.gpus} has: a GPU runs one cell "
                "at a time. Name more GPUs, or lower launcher.num_workers."
            )

    @property
    def num_processes(self) -> int:
        """The number of workers, counted out."""
        return self.num_workers or len(self.gpus) or 1


@dataclass(kw_only=True, slots=True)
class SlurmLauncherConfig(LauncherConfig):
    """As jobs of a Slurm cluster, through submitit. Keys that sbatch knows keep its names; None leaves one to the site."""

    name: str = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    gpus_per_node: int | None = None
    """None: one GPU, unless gres or gpus_per_task asks for some; 0: no GPU."""
    gpus_per_task: int | None = None
    cpus_per_task: int | None = 4
    cpus_per_gpu: int | None = None
    mem_gb: float | None = 64
    """Host memory of a job: the model's weights twice (a copy gives each cell its dense weights back) and some 8 more."""
    mem_per_gpu: str | None = None
    mem_per_cpu: str | None = None
    timeout_min: int = 240
    array_parallelism: int = 256
    """Jobs of one array that run at the same time, at most."""
    cells_per_job: int = 1
    """Cells of one model that share a job and the model it has loaded."""
    setup: list[str] = field(default_factory=list)
    """Shell lines before the job's program, like `module load cuda`."""
    additional_parameters: Any = None
    """Further sbatch options: {name: value}, true for an option without one."""
    python: str | None = None
    """Command that starts Python in the job; None is the one that runs now."""
    use_srun: bool = True
    srun_args: list[str] = field(default_factory=list)
    wckey: str = ""
    nodelist: str | None = None
    exclude: str | None = None
    dependency: str | None = None
    exclusive: bool = False
    comment: str | None = None
    requeue: bool = True
    """Whether a preempted job, or one whose node fails, goes back to the queue; it goes on where it was."""
    signal_delay_s: int = 120
    """Seconds before its end at which a job is told; it then goes back to the queue."""
    max_num_timeout: int = 3
    """Times that a job goes back to the queue because its time is over."""
    offline: bool = True
    """Whether jobs find models and rows in the cache only (HF_HUB_OFFLINE=1), as nodes without a network need it."""
    wait: bool = True
    """Follow the jobs to their end; false returns after submission."""
    poll_seconds: float = 10.0
    """Seconds between two looks at the queue, once the jobs run for a while."""

    def __post_init__(self) -> None:
        for key in ("timeout_min", "array_parallelism", "cells_per_job"):
            _require(f"launcher.{key}", getattr(self, key), getattr(self, key) >= 1, "a whole number of at least 1")
        for key in ("gpus_per_node", "signal_delay_s", "max_num_timeout"):
            value = getattr(self, key)
            _require(f"launcher.{key}", value, value is None or value >= 0, "0 or more")
        _require("launcher.poll_seconds", self.poll_seconds, self.poll_seconds > 0, "more than 0")
        more = self.additional_parameters
        _require("launcher.additional_parameters", more, more is None or isinstance(more, dict), "like {hold: true}")


@dataclass(kw_only=True, slots=True)
class DryLauncherConfig(SlurmLauncherConfig):
    """Nowhere. It takes the keys of all launchers, so that a line needs no other change than launcher=plan."""

    num_workers: int | None = None
    gpus: list[int] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class PlanLauncherConfig(DryLauncherConfig):
    """The grid is shown and nothing runs."""

    name: str = "plan"


@dataclass(kw_only=True, slots=True)
class PrepareLauncherConfig(DryLauncherConfig):
    """Models, rows and calibration sets are fetched and built, so that the cells need no network; nothing runs."""

    name: str = "prepare"


def _require(path: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise UserError(f"{path}={value} is not possible: it must be {allowed}.")
