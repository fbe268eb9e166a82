"""What a Slurm cluster offers: its commands, its limits, its nodes."""

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence

from prune.cell.slurm_queue import SlurmUnavailableError, run_command

_VARIABLES = {"time": "TIMELIMIT", "mem": "MEM_PER_NODE", "array": "ARRAY_INX"}
"""sbatch's options whose variable has another name."""

DEFAULT_MAX_ARRAY_SIZE = 1001
"""Slurm's own default."""


def missing_commands() -> list[str]:
    """The commands that a launch needs and that are not on the PATH."""
    return [name for name in ("sbatch", "squeue", "scontrol", "scancel") if shutil.which(name) is None]


def max_array_size() -> int:
    """How many elements an array may have at this site, or Slurm's default where scontrol does not say."""
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", run_command(["scontrol", "show", "config"]), re.MULTILINE)
    except SlurmUnavailableError:
        return DEFAULT_MAX_ARRAY_SIZE
    return max(1, int(found.group(1))) if found else DEFAULT_MAX_ARRAY_SIZE


def node_hosts() -> set[str]:
    """The names of the machines behind the nodes; empty when Slurm does not say."""
    try:
        return set(re.findall(r"NodeHostName=(\S+)", run_command(["scontrol", "show", "nodes"])))
    except SlurmUnavailableError:
        return set()


def cancel(job_ids: Sequence[str]) -> None:
    """Take jobs out of the queue; that they are gone already is no error."""
    if job_ids:
        run_command(["scancel", "--quiet", *job_ids])


def environment_for_submission(environment: Mapping[str, str], options: Iterable[str]) -> dict[str, str]:
    """`environment` as sbatch may see it: without what a job around us would pass on, and without what would win.

    sbatch lets its variables (SBATCH_PARTITION) win over the options in a script; those of `options`, which the script sets,
    are taken away. The others stay, so that a user may set them once. Where Slurm is stays too.
    """
    inside = "SLURM_JOB_ID" in environment
    passed_on = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SUBMITIT_", "PMI_", "PMIX_")
    won = {f"SBATCH_{_VARIABLES.get(option, option.upper().replace('-', '_'))}" for option in options}
    return {
        key: value
        for key, value in environment.items()
        if key == "SLURM_CONF" or (key not in won and not (inside and key.startswith(passed_on)))
    }
