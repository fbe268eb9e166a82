"""Submits the cells of a sweep as job arrays, through submitit. The edge to submitit's executor and to sbatch."""

import io
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import FailedJobError, FailedSubmissionError

from prune.cell.cell import Cell
from prune.cell.standing import write_submission
from prune.errors import UserError
from prune.sweep.launchers.slurm.cluster import environment_for_submission, max_array_size, missing_commands, node_hosts
from prune.sweep.launchers.slurm.config import SlurmLauncherConfig
from prune.sweep.launchers.slurm.options import options_in_script, sbatch_parameters

_LOCAL_FILE_SYSTEMS = ("tmpfs", "ramfs")

_TOO_MANY = re.compile(r"Submit\w*Limit|SubmitJob|MaxJobCount|too many|\b(jobs|arrays?)\b", re.IGNORECASE)
"""What Slurm, and the wrappers of some sites, say when they take only fewer jobs or smaller arrays."""
_ABOUT = {
    r"CPU count": "launcher.cpus_per_task or launcher.cpus_per_gpu",
    r"memory specification": "launcher.mem_gb, launcher.mem_per_cpu or launcher.mem_per_gpu",
    r"partition (name )?specified": "launcher.partition",
    r"account": "launcher.account",
    r"\bqos\b": "launcher.qos",
    r"generic resource|\bgres\b": "launcher.gres, launcher.gpus_per_node or launcher.gpus_per_task",
    r"feature": "launcher.constraint",
    r"node name": "launcher.nodelist or launcher.exclude",
    r"time limit": "launcher.timeout_min",
    r"dependency": "launcher.dependency",
}
"""Words of sbatch -> the keys that they are about. Source: tried on Slurm 22.05, and its list of errors."""


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
    groups: Sequence[Sequence[Cell]],
    launcher: SlurmLauncherConfig,
    sweep: str,
    folder: Path,
    make_job: Any,
    *,
    can_wait: bool = False,
    after: Sequence[str] = (),
    note: Callable[[Sequence[SubmittedJob], str], None] | None = None,
) -> tuple[list[SubmittedJob], list[Sequence[Cell]]]:
    """Submit a job for each group of cells and note it in each cell's folder.

    Where the site takes a limited number of jobs, smaller arrays are tried, down to one job.

    Args:
        folder: for what the jobs print and for submitit's files.
        make_job: cells -> the `CellsJob` that runs them.
        can_wait: whether other jobs of this line are on their way, after which there is room.
        after: jobs that must have ended, in whatever way, before these begin.
        note: keeps which jobs were taken; None writes it into each cell's folder.

    Returns:
        The jobs, and the groups that are over the site's limit now.

    Raises:
        UserError: sbatch refused, with its own words and what was taken before.
    """
    taken: list[SubmittedJob] = []
    left, size = list(groups), max_array_size()
    folder.mkdir(parents=True, exist_ok=True)
    earlier: str | None = None
    parameters = sbatch_parameters(launcher, sweep, os.environ)
    options = options_in_script(launcher, parameters)
    ended = f"afterany:{':'.join(after)}" if after else None
    with clean_environment(options), redirect_stderr(io.StringIO()):
        while left and size:
            script = parameters | {"dependency": ",".join(filter(None, (launcher.dependency, ended, earlier))) or None}
            try:
                jobs = submit_array([make_job(list(cells)) for cells in left[:size]], launcher, script, folder)
            except (FailedJobError, FailedSubmissionError, subprocess.SubprocessError, OSError) as error:
                size = len(left[:size]) // 2
                if not is_about_number(str(error)) or not (size or taken or can_wait):
                    raise UserError(describe_refusal(str(error), taken, len(groups))) from error
                continue
            (note or note_submission)(jobs, sweep)
            taken, left = [*taken, *jobs], left[len(jobs) :]
            if len(groups) > launcher.array_parallelism:
                earlier = f"afterany:{jobs[0].id.partition('_')[0]}"  # arrays side by side would exceed the limit together
    return taken, left


def note_submission(jobs: Sequence[SubmittedJob], sweep: str) -> None:
    """Write into the folder of each cell as which job it was submitted."""
    for job in jobs:
        for cell in job.cells:
            write_submission(cell.folder(), job.id, job.log, sweep)


def submit_array(
    jobs: Sequence[Any], launcher: SlurmLauncherConfig, parameters: Mapping[str, Any], folder: Path
) -> list[SubmittedJob]:
    """Submit `jobs`, programs with their `cells`, as one array, or as a plain job when it is only one."""
    python = launcher.python or shlex.quote(sys.executable)
    if not launcher.use_srun:
        python = f"exec {python}"  # Python takes the batch shell's place, so that it gets the signal
    executor = SlurmExecutor(folder=folder, max_num_timeout=launcher.max_num_timeout, python=python)
    executor.update_parameters(**parameters)
    with executor.batch():
        submitted = [executor.submit(job) for job in jobs]
    return [
        SubmittedJob(handle.job_id, job.cells, Path(handle.paths.stdout))
        for handle, job in zip(submitted, jobs, strict=True)
    ]


def is_about_number(words: str) -> bool:
    """Whether sbatch refuses for the number of jobs, which fewer may pass."""
    return bool(_TOO_MANY.search(words))


def describe_refusal(words: str, taken: Sequence[SubmittedJob], num_jobs: int = 1) -> str:
    """The message for a refusal by sbatch, with the jobs that it had taken before."""
    lines = list(dict.fromkeys(line.strip() for line in words.splitlines() if line.strip()))
    message = "\n  ".join(["Slurm did not take the jobs. It says:", *lines])
    fewer = "launcher.cells_per_job=4 puts four cells into a job."
    if not taken and is_about_number(words):
        return f"{message}\nNothing was submitted: the site takes no more of your jobs now. Wait for some to end; {fewer}"
    if not taken:
        known = (keys for said, keys in _ABOUT.items() if re.search(said, words, re.IGNORECASE))
        keys = next(known, "the launcher.* key that this is about")
        mend = f"Nothing was submitted. Correct {keys} and run the same line again."
        return f"{message}\n{mend}" + (f" If the site takes fewer jobs at a time: {fewer}" if num_jobs > 1 else "")
    cells = "\n  ".join(f"{job.id}  {', '.join(cell.title for cell in job.cells)}" for job in taken)
    again = "Before that it took these jobs, which go on. Run the same line again to follow them and to submit the rest:"
    return f"{message}\n{again}\n  {cells}"


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
