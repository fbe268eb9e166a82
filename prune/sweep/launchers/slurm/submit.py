"""Submits the cells of a sweep as job arrays, through submitit. The edge to submitit's executor and to sbatch."""

import io
import os
import re
import shlex
import site
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import FailedJobError, FailedSubmissionError

import prune
from prune.cell.cell import Cell
from prune.cell.standing import write_submission
from prune.errors import UserError
from prune.sweep.launchers.slurm.cluster import environment_for_submission, max_array_size, missing_commands, node_hosts
from prune.sweep.launchers.slurm.config import SlurmLauncherConfig
from prune.sweep.launchers.slurm.job import CellsJob

_SBATCH_KEYS = (
    *(
        "partition",
        "account",
        "qos",
        "constraint",
        "gres",
        "gpus_per_node",
        "gpus_per_task",
        "cpus_per_task",
        "cpus_per_gpu",
    ),
    *("mem_per_gpu", "mem_per_cpu", "array_parallelism", "use_srun", "srun_args", "wckey"),
    *("nodelist", "exclude", "dependency", "comment", "signal_delay_s"),
)
"""Keys of the launcher that submitit knows under the same name."""

_LOCAL_FILE_SYSTEMS = ("tmpfs", "ramfs")


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """A job that sbatch took."""

    id: str
    cells: list[Cell]
    log: Path


def check_cluster(output_dir: Path) -> None:
    """Check what can be known before anything is submitted.

    Raises:
        UserError: there is no Slurm here, or the nodes cannot see the outputs.
    """
    missing = missing_commands()
    if missing:
        raise UserError(
            f"launcher=slurm needs Slurm's commands; {', '.join(missing)} is not on the PATH. Run this on a machine that "
            "submits jobs (a login node), or use launcher=local."
        )
    kind = file_system(output_dir)
    if kind in _LOCAL_FILE_SYSTEMS and node_hosts() - {socket.gethostname(), socket.gethostname().partition(".")[0]}:
        raise UserError(
            f"output_dir={output_dir} lies on {kind}, which only this machine sees; jobs could not write there. "
            "Choose a folder that the nodes share, with output_dir=FOLDER."
        )


def file_system(folder: Path) -> str:
    """The type of the file system that `folder`, or what there is of its path, lies on; empty where it is not known."""
    folder = folder.resolve()
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return ""
    holding = [(fields[1], fields[2]) for fields in mounts if folder.is_relative_to(fields[1])]
    return max(holding, key=lambda mount: len(mount[0]), default=("", ""))[1]


def submit_jobs(
    groups: Sequence[Sequence[Cell]], launcher: SlurmLauncherConfig, sweep: str, folder: Path, make_job: Any
) -> list[SubmittedJob]:
    """Submit a job for each group of cells and note it in each cell's folder.

    Args:
        folder: for what the jobs print and for submitit's files.
        make_job: cells -> the `CellsJob` that runs them.

    Raises:
        UserError: sbatch refused, with its own words and what was taken before.
    """
    taken: list[SubmittedJob] = []
    size = max_array_size()
    chunks = [groups[start : start + size] for start in range(0, len(groups), size)]
    folder.mkdir(parents=True, exist_ok=True)
    after: str | None = None
    options = options_in_script(sbatch_parameters(launcher, sweep))
    with clean_environment(options), redirect_stderr(io.StringIO()):
        for chunk in chunks:
            try:
                jobs = submit_array([make_job(list(cells)) for cells in chunk], launcher, sweep, folder, after)
            except (FailedJobError, FailedSubmissionError, subprocess.SubprocessError, OSError) as error:
                raise UserError(describe_refusal(str(error), taken)) from error
            taken += jobs
            for job in jobs:
                for cell in job.cells:
                    write_submission(cell.folder(), job.id, job.log, sweep)
            if len(groups) > launcher.array_parallelism:
                after = f"afterany:{jobs[0].id.partition('_')[0]}"  # arrays side by side would exceed the limit together
    return taken


def submit_array(
    jobs: Sequence[CellsJob], launcher: SlurmLauncherConfig, sweep: str, folder: Path, after: str | None
) -> list[SubmittedJob]:
    """Submit `jobs` as one array, or as a plain job when it is only one; `after` is a dependency on an earlier array."""
    python = launcher.python or shlex.quote(sys.executable)
    if not launcher.use_srun:
        python = f"exec {python}"  # Python takes the batch shell's place, so that it gets the signal
    executor = SlurmExecutor(folder=folder, max_num_timeout=launcher.max_num_timeout, python=python)
    executor.update_parameters(**sbatch_parameters(launcher, sweep, after))
    with executor.batch():
        submitted = [executor.submit(job) for job in jobs]
    return [
        SubmittedJob(handle.job_id, job.cells, Path(handle.paths.stdout))
        for handle, job in zip(submitted, jobs, strict=True)
    ]


def sbatch_parameters(launcher: SlurmLauncherConfig, sweep: str, after: str | None = None) -> dict[str, Any]:
    """Submitit's parameters: the launcher's keys that have a value, under submitit's names."""
    given = {key: getattr(launcher, key) for key in _SBATCH_KEYS} | {"time": launcher.timeout_min}
    given["mem"] = None if launcher.mem_gb is None else f"{round(launcher.mem_gb * 1024)}M"
    if launcher.gpus_per_node is None and launcher.gpus_per_task is None and "gpu" not in (launcher.gres or ""):
        given["gpus_per_node"] = 1
    if given["gpus_per_node"] == 0:
        given["gpus_per_node"] = None
    given["dependency"] = ",".join(filter(None, (launcher.dependency, after))) or None
    more: dict[str, Any] = {"requeue" if launcher.requeue else "no-requeue": True}
    if not launcher.use_srun:
        more["signal"] = f"B:USR2@{launcher.signal_delay_s}"
    return {key: value for key, value in given.items() if value is not None} | {
        "job_name": re.sub(r"[^A-Za-z0-9=.-]+", "-", f"prune-{sweep}")[:60],
        "stderr_to_stdout": True,
        "exclusive": True if launcher.exclusive else None,
        "setup": [*launcher.setup, *own_setup(launcher)],
        "additional_parameters": more | (launcher.additional_parameters or {}),
    }


def own_setup(launcher: SlurmLauncherConfig) -> list[str]:
    """Shell lines of ours: as many threads as CPUs, the cache only, and the same package."""
    lines = ['export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$SLURM_CPUS_PER_TASK}"'] if launcher.cpus_per_task else []
    lines += ["export HF_HUB_OFFLINE=1"] if launcher.offline else []
    root = str(Path(prune.__file__).resolve().parents[1])
    if root not in site.getsitepackages():
        lines.append(f'export PYTHONPATH={shlex.quote(root)}"${{PYTHONPATH:+:$PYTHONPATH}}"')
    return lines


def describe_refusal(words: str, taken: Sequence[SubmittedJob]) -> str:
    """The message for a refusal by sbatch, with the jobs that it had taken before."""
    lines = list(dict.fromkeys(line.strip() for line in words.splitlines() if line.strip()))
    message = "\n  ".join(["Slurm did not take the jobs. It says:", *lines])
    if not taken:
        return f"{message}\nNothing was submitted. Mend the launcher.* key that this is about and run the same line again."
    cells = "\n  ".join(f"{job.id}  {', '.join(cell.name for cell in job.cells)}" for job in taken)
    again = "Before that it took these jobs, which go on; the same line again follows them and submits the rest:"
    return f"{message}\n{again}\n  {cells}"


def options_in_script(parameters: Mapping[str, Any]) -> list[str]:
    """The options of sbatch that the script sets to a value, given submitit's parameters."""
    given = {key.replace("_", "-"): value for key, value in (parameters | parameters["additional_parameters"]).items()}
    return ["array", "output", "error", "signal", *(key for key, value in given.items() if value not in (None, ""))]


@contextmanager
def clean_environment(options: Sequence[str]) -> Iterator[None]:
    """Inside, our environment is what sbatch may see; see `environment_for_submission`."""
    kept = dict(os.environ)
    clean = environment_for_submission(kept, options)
    try:
        for key in kept.keys() - clean.keys():
            del os.environ[key]
        yield
    finally:
        os.environ.update(kept)
