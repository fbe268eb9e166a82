"""Cells as jobs of a Slurm cluster: submitted once, followed to their end, every failure named.

job: what runs in a job. submit: to sbatch, through submitit. follow: files, queue, accounting. verdict: what became of a
job. screen: what is shown meanwhile.
"""

import os
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from prune.cell.cell import Cell
from prune.cell.lock import claim_when_free
from prune.cell.provenance import code_state
from prune.cell.resources import Resources
from prune.cell.slurm_queue import Job, SlurmUnavailableError, queued_jobs
from prune.cell.standing import Standing, find_standing
from prune.cell.state import State
from prune.config.tracker import TrackerMode
from prune.errors import UserError
from prune.messages.cli import report
from prune.messages.words import count
from prune.sweep.cell_launcher import CellLauncher
from prune.sweep.launchers.slurm.cluster import cancel
from prune.sweep.launchers.slurm.config import SlurmLauncherConfig
from prune.sweep.launchers.slurm.follow import Follower
from prune.sweep.launchers.slurm.followed import Followed
from prune.sweep.launchers.slurm.job import CellsJob, group_cells
from prune.sweep.launchers.slurm.memory import memory_notes
from prune.sweep.launchers.slurm.options import describe_overruled, options_in_script, sbatch_parameters
from prune.sweep.launchers.slurm.screen import Screen
from prune.sweep.launchers.slurm.sets import SetJob, missing_sets, note_set_jobs, set_job
from prune.sweep.launchers.slurm.submit import SubmittedJob, check_cluster, submit_jobs
from prune.sweep.launchers.slurm.verdict import cannot_start
from prune.sweep.recorder import Recorder
from prune.sweep.sweep import Sweep
from prune.track.tracker import NullTracker


class StoppedWaiting(KeyboardInterrupt):
    """Ctrl-C while jobs were followed; says that they go on."""


class SlurmLauncher(CellLauncher):
    """Submits what is in no queue yet; with launcher.wait follows all to their end."""

    config = SlurmLauncherConfig

    def check(self, sweep: Sweep, cells: Sequence[Cell]) -> None:
        """Check that there is Slurm here, and that its nodes see the outputs."""
        check_cluster(sweep.output_dir)

    def reads_cache_only(self, sweep: Sweep) -> bool:
        """Whether the line lets jobs have no network."""
        return _knobs(sweep).offline

    def run(self, sweep: Sweep, cells: Sequence[Cell], recorder: Recorder, resources: Resources, console: Console) -> None:
        """Run `cells` as jobs.

        Raises:
            UserError: Slurm does not take the jobs, or does not answer.
            StoppedWaiting: Ctrl-C; the jobs go on.
        """
        launcher = _knobs(sweep)
        if sweep.config.tracker.mode is not TrackerMode.online:  # each job mirrors its own cells
            recorder = Recorder(recorder.sweep, recorder.outcome, NullTracker())
        for note in notes_on_jobs(cells, launcher):
            report(note)
        had_jobs = False
        while cells:
            followed, num_open = submit_some(cells, sweep, recorder, console, had_jobs=had_jobs)
            had_jobs = had_jobs or bool(followed)
            if not launcher.wait:
                leave(followed, sweep, recorder, console)
                return
            if not followed:
                time.sleep(launcher.poll_seconds)  # the site has taken sets alone, or still counts jobs that have ended
            with Screen(console) as screen:
                try:
                    Follower(followed, recorder, screen).follow(launcher.poll_seconds, len(followed) // 2 if num_open else 0)
                except KeyboardInterrupt:
                    raise StoppedWaiting(describe_stop(followed)) from None
            known = {*recorder.outcome.results, *recorder.outcome.failures, *recorder.outcome.held}
            cells = [cell for cell in cells if cell.id not in known]


LAUNCHER = SlurmLauncher()


def _knobs(sweep: Sweep) -> SlurmLauncherConfig:
    launcher = sweep.config.launcher
    assert isinstance(launcher, SlurmLauncherConfig), launcher
    return launcher


def divide_by_state(missing: Sequence[Cell], recorder: Recorder) -> tuple[list[Followed], list[Cell]]:
    """(cells that have a job, cells to submit); those that are finished or held by others meanwhile are recorded."""
    queue = answered_queue()
    followed: list[Followed] = []
    fresh: list[Cell] = []
    for cell in missing:
        standing = find_standing(cell, queue)
        if standing.result is not None:
            recorder.finish(cell, standing.result)
        elif on_its_way(cell, standing, queue):
            assert standing.submission is not None
            followed.append(Followed(cell, standing.submission.job_id, Path(standing.submission.log)))
            followed[-1].set_job_id = set_job_id(cell, queue)
        elif standing.held is not None:
            recorder.hold(cell, standing.held.describe())
        elif standing.is_blocked and standing.failure is not None:
            recorder.fail(cell, standing.failure)
        else:
            fresh.append(cell)
    return followed, fresh


def answered_queue() -> dict[str, Job]:
    """This user's jobs.

    Raises:
        UserError: Slurm does not answer.
    """
    try:
        return queued_jobs()
    except SlurmUnavailableError as error:
        raise UserError(f"Slurm does not answer: {error}. Nothing was submitted; run the same line again later.") from None


def on_its_way(cell: Cell, standing: Standing, queue: Mapping[str, Job]) -> bool:
    """Whether the cell has a job that is waiting or running; one that can never start is taken out of the queue, and so is
    one that waits for a calibration set whose job cannot."""
    job, making = standing.job, set_job(cell, queue)
    if job is None or job.has_ended or standing.state not in (State.pending, State.running):
        return False
    needed = [job] if making is None or not job.is_pending else [job, making]
    if any(cannot_start(each, queue.values()) for each in needed):
        cancel([each.id for each in needed])
        return False
    return True


def set_job_id(cell: Cell, queue: Mapping[str, Job]) -> str | None:
    """The id of the job on its way that makes the cell's calibration set; see `set_job`."""
    job = set_job(cell, queue)
    return None if job is None else job.id


def submit_some(
    cells: Sequence[Cell], sweep: Sweep, recorder: Recorder, console: Console, *, had_jobs: bool = False
) -> tuple[list[Followed], int]:
    """Submit those of `cells` that are in no queue, or as many as the site takes.

    Args:
        had_jobs: this launch has had jobs already. A site that takes none now may still count those that have ended, so the
            launch waits and tries again.

    Returns:
        The cells on their way, and the number of those that are still to be submitted.
    """
    with claim_when_free(sweep.output_dir / "sweeps"):  # two launches at once: the second finds the first one's jobs
        followed, fresh = divide_by_state(cells, recorder)
        for cell in cells:
            if who := recorder.outcome.held.get(cell.id):
                console.print(f"{cell.title}: {who}", markup=False, highlight=False, soft_wrap=True)
        can_wait = had_jobs or bool(followed)
        made_by = submit_sets(fresh, sweep, console, can_wait=can_wait) if fresh else {}
        submitted = submit_fresh(fresh, sweep, made_by, can_wait=can_wait) if fresh else []
    for job in submitted:
        followed += [Followed(cell, job.id, job.log, set_job_id=made_by.get(set_id_of(cell))) for cell in job.cells]
    num_open = len(fresh) - sum(len(job.cells) for job in submitted)
    if followed or made_by:
        describe_submission(submitted, len(followed), num_open, console)
    return followed, num_open


def submit_sets(fresh: Sequence[Cell], sweep: Sweep, console: Console, *, can_wait: bool) -> dict[str, str]:
    """Calibration set -> the job on its way that makes it, for those of `fresh` that the model makes and that are not there.

    Those that no job makes yet are submitted first.
    """
    launcher, queue, missing = _knobs(sweep), answered_queue(), missing_sets(fresh)
    made_by = {set_id: job_id for set_id, cell in missing.items() if (job_id := set_job_id(cell, queue))}
    groups = [[cell] for set_id, cell in missing.items() if set_id not in made_by]
    if groups:

        def make_job(cells: list[Cell]) -> SetJob:
            return SetJob(cells, list(sweep.overrides), str(Path.cwd()))

        folder = _jobs_folder(sweep)
        jobs, _ = submit_jobs(groups, launcher, sweep.name, folder, make_job, can_wait=can_wait, note=note_set_jobs)
        made_by |= {set_id_of(cell): job.id for job in jobs for cell in job.cells}
        named = describe_ids(job.id for job in jobs)
        jobs_made = f"Submitted {count(len(jobs), 'job')}"
        words = f"{jobs_made} for calibration sets that the model makes, which cells wait for: {named}."
        console.print(words, markup=False, highlight=False, soft_wrap=True)
    return made_by


def set_id_of(cell: Cell) -> str:
    """The id of the cell's calibration set; empty where it has none."""
    return cell.recipe.id() if cell.recipe else ""


def submit_fresh(fresh: Sequence[Cell], sweep: Sweep, made_by: Mapping[str, str], *, can_wait: bool) -> list[SubmittedJob]:
    """Submit `fresh`, `cells_per_job` in each job; see `submit_jobs`.

    Those that wait for a calibration set come last, in an array of their own; a set whose job the site has not taken yet
    leaves its cells for later.

    Args:
        made_by: the set -> its job.
    """
    lacking = {set_id for set_id in missing_sets(fresh) if set_id not in made_by}
    ready = [cell for cell in fresh if set_id_of(cell) not in lacking]
    at_once = [cell for cell in ready if set_id_of(cell) not in made_by]
    waiting = [cell for cell in ready if set_id_of(cell) in made_by]
    submitted = submit_cells(at_once, sweep, (), can_wait=can_wait or bool(made_by)) if at_once else []
    if waiting:
        before = [job.id.partition("_")[0] for job in submitted] if len(ready) > _knobs(sweep).array_parallelism else []
        after = list(dict.fromkeys([*made_by.values(), *before]))
        submitted += submit_cells(waiting, sweep, after, can_wait=True)
    return submitted


def _jobs_folder(sweep: Sweep) -> Path:
    return (sweep.folder / "jobs").resolve()


def submit_cells(cells: Sequence[Cell], sweep: Sweep, after: Sequence[str], *, can_wait: bool) -> list[SubmittedJob]:
    """Submit `cells`, to begin once the jobs `after` have ended."""
    launcher = _knobs(sweep)
    limits = f"launcher.timeout_min={launcher.timeout_min}, launcher.max_num_timeout={launcher.max_num_timeout}"
    timeout = f"it reached its time limit ({limits})"

    def make_job(cells: list[Cell]) -> CellsJob:
        return CellsJob(cells, sweep.name, list(sweep.overrides), code_state(), timeout, str(Path.cwd()))

    groups = group_cells(cells, launcher.cells_per_job)
    return submit_jobs(groups, launcher, sweep.name, _jobs_folder(sweep), make_job, can_wait=can_wait, after=after)[0]


def leave(followed: Sequence[Followed], sweep: Sweep, recorder: Recorder, console: Console) -> None:
    """Say how to follow or end the jobs, and keep that the cells have them."""
    for line in commands_to_follow(sweep, followed):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for one in followed:
        recorder.hold(one.cell, f"job {one.job_id}")


def notes_on_jobs(cells: Sequence[Cell], launcher: SlurmLauncherConfig) -> list[str]:
    """What sbatch is not told of the shell's variables, and memory that is too little for a model."""
    overruled = describe_overruled(os.environ, options_in_script(launcher, sbatch_parameters(launcher, "", os.environ)))
    return [*([overruled] if overruled else []), *memory_notes(cells, launcher)]


def describe_submission(submitted: Sequence[SubmittedJob], num_followed: int, num_open: int, console: Console) -> None:
    """Say what was submitted, what was in the queue already, and what the site does not take yet."""
    num_cells = sum(len(job.cells) for job in submitted)
    earlier = num_followed - num_cells
    jobs, cells = count(len(submitted), "job"), count(num_cells, "cell")
    lines = [f"Submitted {jobs} for {cells}: {describe_ids(job.id for job in submitted)}."] if submitted else []
    lines += [f"In the queue already: {count(earlier, 'cell')}."] if earlier else []
    lines += (
        [
            f"{num_open} cells are not submitted yet: the site takes no more jobs at a time. They follow as jobs end; with "
            "launcher.wait=false run the same line again to submit them. launcher.cells_per_job=4 puts four cells into a "
            "job."
        ]
        if num_open
        else []
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def describe_ids(job_ids: Iterable[str]) -> str:
    """`12_[0-4], 17`: the ids of arrays together."""
    arrays: dict[str, list[int]] = {}
    plain: list[str] = []
    for job_id in job_ids:
        root, _, index = job_id.partition("_")
        if index:
            arrays.setdefault(root, []).append(int(index))
        else:
            plain.append(root)
    return ", ".join([*(f"{root}_[{_ranges(indices)}]" for root, indices in arrays.items()), *plain])


def _ranges(indices: Iterable[int]) -> str:
    """`0-4,7` of sorted numbers."""
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def commands_to_follow(sweep: Sweep, followed: Sequence[Followed]) -> list[str]:
    """The commands that follow or end jobs after launcher.wait=false."""
    roots = " ".join(dict.fromkeys(root for one in followed for root in one.roots))
    return [
        f"Follow them:  python -m prune.status {shlex.quote(str(sweep.output_dir))} --watch",
        "Wait for them and see the table:  the same line with launcher.wait=true",
        f"End them:  scancel {roots}",
    ]


def describe_stop(followed: Sequence[Followed]) -> str:
    """The message after Ctrl-C while jobs are followed."""
    roots = " ".join(dict.fromkeys(root for one in followed for root in one.roots))
    return (
        f"Stopped waiting; the jobs go on. Run the same line again to follow them, python -m prune.status to list them, "
        f"scancel {roots} to end them."
    )
