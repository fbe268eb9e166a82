"""What Slurm's own commands say about jobs: the edge to squeue, sacct, scontrol and scancel.

A queue forgets a job minutes after its end; accounting remembers it, where the site has accounting. Neither knows a single
element that was cancelled while its whole array was pending.
"""

import getpass
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

PENDING_STATES = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
ENDED_STATES = frozenset(
    {
        *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"),
        *("PREEMPTED", "REVOKED"),
    }
)
_VARIABLES = {"time": "TIMELIMIT", "mem": "MEM_PER_NODE", "array": "ARRAY_INX"}
"""sbatch's options whose variable has another name."""

DEFAULT_MAX_ARRAY_SIZE = 1001
"""Slurm's own default."""

_TIMEOUT_S = 60


class SlurmUnavailableError(Exception):
    """Slurm does not answer: the controller is down, or its commands are not here. Says so in its own words."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job, or an element of an array, as Slurm describes it."""

    id: str
    """`12`, or `12_3` in an array."""
    state: str
    """Slurm's word, like `PENDING`."""
    reason: str = ""
    """Why it is pending."""
    node: str = ""
    used: str = ""
    """Time since its start, as squeue writes it."""
    left: str = ""
    """Time to its limit."""
    exit_code: str = ""
    """`1:0`: exit status and signal; from accounting only."""

    @property
    def is_pending(self) -> bool:
        """Whether it waits for its start."""
        return self.state in PENDING_STATES

    @property
    def has_ended(self) -> bool:
        """Whether it will never run again."""
        return self.state in ENDED_STATES

    @property
    def is_running(self) -> bool:
        """Whether its processes may be alive."""
        return not self.is_pending and not self.has_ended


def missing_commands() -> list[str]:
    """The commands that a launch needs and that are not on the PATH."""
    return [name for name in ("sbatch", "squeue", "scontrol", "scancel") if shutil.which(name) is None]


def queued_jobs() -> dict[str, Job]:
    """This user's jobs that the controller knows: waiting, running, and ended a few minutes ago at most.

    Raises:
        SlurmUnavailableError: the controller does not answer.
    """
    options = ["--noheader", "--array", "--states=all", f"--user={getpass.getuser()}", "--format=%i|%T|%r|%N|%M|%L"]
    return parse_queue(_run(["squeue", *options]))


def parse_queue(text: str) -> dict[str, Job]:
    """Job id -> job, of what squeue printed in the format above."""
    rows = [line.strip().split("|") for line in text.splitlines() if line.count("|") == 5]
    return {row[0]: Job(row[0], row[1], *(_given(value) for value in row[2:])) for row in rows}


def accounted_jobs(job_ids: Iterable[str]) -> dict[str, Job] | None:
    """What accounting knows of these jobs; None where there is no accounting, or it does not answer."""
    roots = sorted({job_id.partition("_")[0] for job_id in job_ids})
    if not roots:
        return {}
    fields = "JobID,State,ExitCode,NodeList,Elapsed"
    try:
        options = ["--noheader", "--parsable2", "--allocations", f"--format={fields}", f"--jobs={','.join(roots)}"]
        text = _run(["sacct", *options])
    except SlurmUnavailableError:
        return None
    return parse_accounting(text)


def parse_accounting(text: str) -> dict[str, Job]:
    """Job id -> job, of what sacct printed in the format above; `CANCELLED by 0` is CANCELLED."""
    jobs = {}
    for line in text.splitlines():
        job_id, state, exit_code, node, elapsed = (line.strip().split("|") + [""] * 5)[:5]
        if re.fullmatch(r"\d+(_\d+)?", job_id):
            jobs[job_id] = Job(job_id, state.split(" ")[0], node=_given(node), used=elapsed, exit_code=exit_code)
    return jobs


def max_array_size() -> int:
    """How many elements an array may have at this site, or Slurm's default where scontrol does not say."""
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _run(["scontrol", "show", "config"]), re.MULTILINE)
    except SlurmUnavailableError:
        return DEFAULT_MAX_ARRAY_SIZE
    return max(1, int(found.group(1))) if found else DEFAULT_MAX_ARRAY_SIZE


def node_hosts() -> set[str]:
    """The names of the machines behind the nodes; empty when Slurm does not say."""
    try:
        return set(re.findall(r"NodeHostName=(\S+)", _run(["scontrol", "show", "nodes"])))
    except SlurmUnavailableError:
        return set()


def cancel(job_ids: Sequence[str]) -> None:
    """Take jobs out of the queue; that they are gone already is no error."""
    if job_ids:
        _run(["scancel", "--quiet", *job_ids])


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


def _given(value: str) -> str:
    return "" if value in ("None", "N/A", "(null)", "None assigned") else value


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise SlurmUnavailableError(f"{command[0]} is not on the PATH") from None
    except subprocess.TimeoutExpired:
        raise SlurmUnavailableError(f"{command[0]} did not answer within {_TIMEOUT_S} s") from None
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or f"{command[0]} failed with {done.returncode}").splitlines()
        raise SlurmUnavailableError(words[-1])
    return done.stdout
