"""What is asked of sbatch: the launcher's keys under submitit's names, and defaults where nothing else asks for the same."""

import re
import shlex
import site
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import prune
from prune.sweep.launchers.slurm.config import CPUS, GPUS, MEMORY, SlurmLauncherConfig, launcher_key, long_option

DEFAULT_MEM_GB = 64
DEFAULT_CPUS = 4
DEFAULT_GPUS = 1

_KEYS = (
    *("partition", "account", "qos", "constraint", "gres", "gpus_per_node", "gpus_per_task", "cpus_per_task"),
    *("cpus_per_gpu", "mem_per_gpu", "mem_per_cpu", "array_parallelism", "use_srun", "srun_args", "wckey"),
    *("nodelist", "exclude", "dependency", "comment", "signal_delay_s"),
)
"""Keys of the launcher that submitit knows under the same name."""

_EXCLUSIVE = (MEMORY, CPUS, tuple(option for option in GPUS if option != "gres"), ("requeue", "no-requeue"))

_OWN = ("array", "output", "error", "signal", "open-mode", "wait")
"""Options that a script of ours always sets, or that a submission of ours cannot have."""

_VARIABLES = {"SBATCH_TIMELIMIT": "time", "SBATCH_MEM_PER_NODE": "mem", "SBATCH_ARRAY_INX": "array"}
"""Variables of sbatch that are not named after their option."""


def sbatch_parameters(
    launcher: SlurmLauncherConfig,
    sweep: str,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Submitit's parameters: the launcher's keys that have a value, and defaults for memory, CPUs and GPU.

    Args:
        environment: a variable of sbatch (SBATCH_MEM_PER_CPU) there displaces the default that it excludes.
    """
    given = {key: getattr(launcher, key) for key in _KEYS} | {"time": launcher.timeout_min}
    given["mem"] = f"{round(launcher.mem_gb * 1024)}M" if launcher.mem_gb else None
    more = {"requeue" if launcher.requeue else "no-requeue": True} | _more(launcher)
    asked = {option_of(name) for name in environment if name.startswith("SBATCH_")} - {"gres"}
    asked |= {"gres"} if "gpu" in environment.get("SBATCH_GRES", "") else set()
    given |= _defaults(launcher, asked | set(_written(given | more)))
    for key in ("gpus_per_node", "cpus_per_task"):
        given[key] = given[key] or None
    if not launcher.use_srun:
        more = {"signal": f"B:USR2@{launcher.signal_delay_s}"} | more
    parameters = {key: value for key, value in given.items() if value is not None}
    return parameters | {
        "job_name": re.sub(r"[^A-Za-z0-9=.-]+", "-", f"prune-{sweep}")[:60],
        "stderr_to_stdout": True,
        "exclusive": True if launcher.exclusive else None,
        "setup": [*launcher.setup, *own_setup(launcher, has_cpus="cpus_per_task" in parameters)],
        "additional_parameters": more,
    }


def _more(launcher: SlurmLauncherConfig) -> dict[str, Any]:
    """launcher.additional_parameters by sbatch's long names."""
    return {long_option(str(key)): value for key, value in (launcher.additional_parameters or {}).items()}


def _written(given: Mapping[str, Any]) -> list[str]:
    """The options of sbatch that have a value; a gres without a GPU asks for none."""
    options = {long_option(key): value for key, value in given.items() if value not in (None, "")}
    return [option for option, value in options.items() if option != "gres" or "gpu" in str(value)]


def _defaults(launcher: SlurmLauncherConfig, asked: set[str]) -> dict[str, Any]:
    """Submitit's parameters for what neither `asked` nor the launcher leaves to the site."""
    found: dict[str, Any] = {}
    if launcher.mem_gb is None and asked.isdisjoint(MEMORY):
        found["mem"] = f"{DEFAULT_MEM_GB * 1024}M"
    if asked.isdisjoint(CPUS):
        found["cpus_per_task"] = DEFAULT_CPUS
    if asked.isdisjoint(GPUS):
        found["gpus_per_node"] = DEFAULT_GPUS
    return found


def own_setup(launcher: SlurmLauncherConfig, *, has_cpus: bool = True) -> list[str]:
    """Shell lines of ours: as many threads as CPUs, the cache only, and the same package."""
    lines = ['export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$SLURM_CPUS_PER_TASK}"'] if has_cpus else []
    lines += ["export HF_HUB_OFFLINE=1"] if launcher.offline else []
    root = str(Path(prune.__file__).resolve().parents[1])
    if root not in site.getsitepackages():
        lines.append(f'export PYTHONPATH={shlex.quote(root)}"${{PYTHONPATH:+:$PYTHONPATH}}"')
    return lines


def options_in_script(launcher: SlurmLauncherConfig, parameters: Mapping[str, Any]) -> list[str]:
    """The options of sbatch that the script sets to a value, given submitit's parameters, and that it goes without."""
    given = {long_option(key): value for key, value in (parameters | parameters["additional_parameters"]).items()}
    settled = ["gpus"] if launcher.gpus_per_node == 0 or "gpu" in str(given.get("gres", "")) else []
    return [*_OWN, *(option for option, value in given.items() if value not in (None, "")), *settled]


def overruled(environment: Mapping[str, str], options: Sequence[str]) -> dict[str, str]:
    """Variable of sbatch -> the option that overrules it: `options` are those of the script.

    sbatch lets its variables win over what a script says; of two that exclude one another it takes neither.
    """
    found = {}
    for variable in environment:
        if variable.startswith("SBATCH_"):
            alike = next((family for family in _EXCLUSIVE if option_of(variable) in family), (option_of(variable),))
            if option := next((option for option in options if option in alike), None):
                found[variable] = option
    return found


def describe_overruled(environment: Mapping[str, str], options: Sequence[str]) -> str | None:
    """One line on the variables of sbatch that have no effect; None where all have."""
    named = [
        f"{name}={environment[name]} ({launcher_key(option)})"
        for name, option in sorted(overruled(environment, options).items())
    ]
    if not named:
        return None
    return (
        f"These variables have no effect, because the launcher's keys or their defaults set the same options: "
        f"{', '.join(named)}."
    )


def option_of(variable: str) -> str:
    """The option that a variable of sbatch stands for: `mem-per-cpu` for SBATCH_MEM_PER_CPU."""
    return _VARIABLES.get(variable, variable.removeprefix("SBATCH_").lower().replace("_", "-"))
