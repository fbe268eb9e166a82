"""Knobs of the Slurm launcher, named as in hydra-submitit-launcher."""

from dataclasses import dataclass, field, fields
from typing import Any

from prune.config.launcher import LauncherConfig, check_workers, require
from prune.errors import UserError

MEMORY = ("mem", "mem-per-cpu", "mem-per-gpu")
CPUS = ("cpus-per-task", "cpus-per-gpu")
GPUS = ("gpus-per-node", "gpus-per-task", "gpus-per-socket", "gpus", "gres")
"""Options of sbatch that ask for the same thing in different ways: one displaces the default of another."""

_SHORT = {"c": "cpus-per-task", "G": "gpus", "t": "time", "p": "partition", "A": "account", "q": "qos", "C": "constraint"}
_KEYS = {
    "mem": "mem_gb",
    "time": "timeout_min",
    "signal": "signal_delay_s",
    "no-requeue": "requeue",
    "gpus": "gpus_per_node",
    "array": "array_parallelism",
}


def long_option(key: str) -> str:
    """The long name of an option of sbatch: `cpus-per-task` for cpus_per_task or c."""
    return _SHORT.get(key, key.replace("_", "-"))


def launcher_key(option: str) -> str:
    """The key that sets an option of sbatch: `launcher.mem_gb` for mem."""
    key = _KEYS.get(option, option.replace("-", "_"))
    known = {entry.name for entry in fields(SlurmLauncherConfig)}
    return f"launcher.{key}" if key in known else f"launcher.additional_parameters={{{option}: VALUE}}"


@dataclass(kw_only=True, slots=True)
class SlurmLauncherConfig(LauncherConfig):
    """Runs cells as jobs of a Slurm cluster, through submitit. Keys that sbatch knows keep its names; None leaves one to
    the site."""

    name: str = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    gpus_per_node: int | None = None
    """None: one GPU, unless another key or a variable of sbatch (SBATCH_GPUS) asks for some; 0: no GPU."""
    gpus_per_task: int | None = None
    cpus_per_task: int | None = None
    """None: 4, unless cpus_per_gpu says how many; 0 leaves it to the site."""
    cpus_per_gpu: int | None = None
    mem_gb: float | None = None
    """Host memory of a job: the model's weights twice (a copy gives each cell its dense weights back) and some 8 more.
    None: 64, unless mem_per_gpu, mem_per_cpu or a variable of sbatch (SBATCH_MEM_PER_CPU) says how much; 0 leaves it to the
    site."""
    mem_per_gpu: str | None = None
    mem_per_cpu: str | None = None
    timeout_min: int = 240
    """The time limit of a job."""
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
    """Whether the job starts its program by srun, with `srun_args`."""
    srun_args: list[str] = field(default_factory=list)
    """Further words for srun."""
    wckey: str = ""
    nodelist: str | None = None
    exclude: str | None = None
    dependency: str | None = None
    exclusive: bool = False
    comment: str | None = None
    requeue: bool = True
    """Whether a preempted job, or one whose node fails, goes back to the queue; it then goes on where it stopped."""
    signal_delay_s: int = 120
    """Seconds before its end at which a job gets a signal; it then goes back to the queue."""
    max_num_timeout: int = 3
    """How often a job goes back to the queue because its time is over."""
    offline: bool = True
    """Whether jobs look for models and rows only in the cache (HF_HUB_OFFLINE=1), as nodes without a network must."""
    wait: bool = True
    """Follow the jobs to their end; false returns after submission."""
    poll_seconds: float = 10.0
    """Seconds between two looks at the queue, once the jobs have run for a while."""

    def __post_init__(self) -> None:
        for key in ("timeout_min", "array_parallelism", "cells_per_job"):
            require(f"launcher.{key}", getattr(self, key), getattr(self, key) >= 1, "a whole number of at least 1")
        for key in ("gpus_per_node", "cpus_per_task", "mem_gb", "signal_delay_s", "max_num_timeout"):
            value = getattr(self, key)
            require(f"launcher.{key}", value, value is None or not value < 0, "0 or more")
        require("launcher.poll_seconds", self.poll_seconds, self.poll_seconds > 0, "more than 0")
        more = self.additional_parameters
        require("launcher.additional_parameters", more, more is None or isinstance(more, dict), "like {hold: true}")
        for options in (MEMORY, CPUS):
            self._check_one_of(options)

    def _check_one_of(self, options: tuple[str, ...]) -> None:
        """Refuse two options of which sbatch takes one."""
        typed = {option: getattr(self, launcher_key(option).removeprefix("launcher."), None) for option in options}
        given = [
            f"{launcher_key(option)}={value:g}" if isinstance(value, float) else f"{launcher_key(option)}={value}"
            for option, value in typed.items()
            if value
        ]
        more = {long_option(str(key)): value for key, value in (self.additional_parameters or {}).items()}
        given += [f"launcher.additional_parameters={{{option}: {more[option]}}}" for option in options if option in more]
        if len(given) > 1:
            raise UserError(
                f"{' and '.join(given)} exclude one another: sbatch takes one of them. Leave out the others, "
                "or unset what a file gives with null, as in launcher.mem_gb=null."
            )


@dataclass(kw_only=True, slots=True)
class DryLauncherConfig(SlurmLauncherConfig):
    """Runs cells nowhere. It takes the keys of all launchers, so that a line needs no other change than launcher=plan."""

    num_workers: int | None = None
    """As launcher=local takes it."""
    gpus: list[int] = field(default_factory=list)
    """As launcher=local takes it."""

    def __post_init__(self) -> None:
        SlurmLauncherConfig.__post_init__(self)  # slots leave super() without its class
        check_workers(self.num_workers, self.gpus)
