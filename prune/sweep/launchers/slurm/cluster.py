"""What a Slurm cluster offers: its commands, its limits, its nodes."""

import re
import shutil
from collections.abc import Mapping, Sequence

from prune.cell.slurm_queue import SlurmUnavailableError, run_command
from prune.sweep.launchers.slurm.options import overruled

_OF_JOBS = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_", "PMI_", "PMIX_", "SBATCH_CPU_BIND", "SBATCH_MEM_BIND")
"""The beginning of the variables that Slurm sets in a job."""

_OF_SITES = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT")
"""Variables that say where Slurm is, and who asks."""

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
    """Take jobs out of the queue; it is no error if they are gone already."""
    if job_ids:
        run_command(["scancel", "--quiet", *job_ids])


def environment_for_submission(environment: Mapping[str, str], options: Sequence[str]) -> dict[str, str]:
    """`environment` as sbatch may see it: without what a job passes on to its shells, and without what would win.

    Slurm's variables of a job stay in shells that it left behind, also where SLURM_JOB_ID is gone: srun would read them as
    options. sbatch's own (SBATCH_PARTITION) stay, so that a user may set them once, but for those that the `options` in the
    script overrule.
    """
    lost = overruled(environment, options)
    return {
        key: value
        for key, value in environment.items()
        if key not in lost and (key in _OF_SITES or not key.startswith(_OF_JOBS))
    }
