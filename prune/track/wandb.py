"""The W&B edge, the only file that imports wandb: one run a cell.

A run is written after result.json, so that the service can be slow, full or absent without costing a cell. A run that is
written again, because a score was added or the dense cell became known, is the same run with more in it: online it is
continued; offline a new log replaces the earlier one, or, when that was sent already, holds all but the blocks.
"""

import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from prune.cell.gpu import SECONDS
from prune.cell.lock import CellHeldError, claim
from prune.config.tracker import TrackerConfig, TrackerMode
from prune.errors import interruptions
from prune.messages.cli import report
from prune.track.content import BLOCK, block_history, run_config, run_tags, summary
from prune.track.tracker import Record
from prune.track.wandb_cache import lead_cache
from prune.track.wandb_state import MirroredRun, digest, drop_unsent, first_attempt, read_mirrored, write_mirrored

INIT_TIMEOUT_S = 30.0
"""So long the server may take to accept a run."""

FINISH_TIMEOUT_S = 60.0
"""So long it may take to accept what a run holds."""

NUM_RETRIES = 3
"""Further requests when one for a run's metadata fails."""

RETRY_WAIT_S = (0.5, 2.0)
"""Shortest and longest wait before the next of them."""

MAX_DELETED = 20
"""So many ids of one cell may have been deleted on the server."""

DELETED = "previously created and deleted"
"""The server's words for an id that cannot be taken again."""

NOT_TAKEN = ("filestream: fatal error", "runupserter: failed")
"""W&B's words, in a run's own log, for what the server did not take; `finish` does not report it."""

KEY_REFUSED = re.compile(r"\b(401|403)\b|not logged in|[Ii]nvalid .*key")


class NotSentError(Exception):
    """The server did not take all that a run holds."""


class WandbTracker:
    """Keeps W&B runs under `output_dir`/wandb, and sends them when the mode is online."""

    def __init__(self, config: TrackerConfig, output_dir: Path) -> None:
        self._config = config
        self._folder = output_dir.resolve()
        self._mode = config.mode
        self._refused: list[str] = []
        lead_cache(self._folder / "wandb" / "cache")

    def record(self, record: Record) -> None:
        """Write one run: nested configuration, a history line a block, the final numbers in the summary."""
        try:
            numbers = summary(record.result, record.dense, record.c4)
            with interruptions(), claim(record.folder), _quiet_logging():
                if self.lacks(record.folder, numbers):
                    self._mirror(record, numbers)
        except CellHeldError as error:  # another launch writes the run, or adds to the cell and writes it then
            if not error.held.is_certain:
                report(f"W&B was not told of {record.name}: it is {error}. Run the same line again to tell it then.")
        except Exception as error:  # whatever W&B raises, the cell is finished
            report(f"W&B did not take {record.name}: {_first_line(error)}")
            self._refused.append(f"{record.name} ({_first_line(error)})")

    def lacks(self, folder: Path, numbers: Mapping[str, float]) -> bool:
        """Whether the run of the cell in `folder` is missing, shows other numbers, or is offline and ought to be sent."""
        kept = read_mirrored(folder)
        is_unsent = self._mode is TrackerMode.online and kept is not None and kept.mode != self._mode.value
        return kept is None or kept.digest != digest(numbers) or is_unsent

    def finish(self) -> None:
        """Nothing is on its way: each run is written when it is recorded."""

    def closing_note(self) -> str | None:
        """Which cells W&B did not take."""
        if not self._refused:
            return None
        return f"W&B did not take {', '.join(self._refused)}; their results are kept here all the same."

    def _mirror(self, record: Record, numbers: Mapping[str, float]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        earlier = read_mirrored(record.folder)
        attempt = earlier.attempt if earlier else first_attempt(record.cell_id, self._folder)
        was_sent = earlier is not None and earlier.was_sent()
        begun = MirroredRun(attempt=attempt, mode=self._mode.value, folder="", sent=was_sent)
        try:
            kept = self._write(record, numbers, begun)
        except NotSentError as error:
            self._go_offline(f"{server_url()} does not take what a run holds: {error}")
            kept = self._write(record, numbers, read_mirrored(record.folder) or begun)
        if earlier is not None and earlier.folder != kept.folder:
            drop_unsent(earlier, self._folder / "wandb")

    def _write(self, record: Record, numbers: Mapping[str, float], kept: MirroredRun) -> MirroredRun:
        """Write the run; `kept` is what is known of it before.

        Raises:
            NotSentError: it is online, and the server did not take everything.
        """
        run, attempt = self._start(record, kept.attempt)
        folder = Path(run.dir).parent
        sent = kept.sent and attempt == kept.attempt
        kept = MirroredRun(attempt=attempt, mode=self._mode.value, folder=str(folder), sent=sent)
        write_mirrored(record.folder, kept)
        with _finishing(run):
            is_online = self._mode is TrackerMode.online
            _fill(run, numbers, [] if sent and not is_online else [*block_history(record.linears), *record.gpu])
        if is_online:
            _check_taken(folder)
        kept = replace(kept, digest=digest(numbers))
        write_mirrored(record.folder, kept)
        return kept

    def _start(self, record: Record, attempt: int) -> tuple[Any, int]:
        """(the begun run, the suffix of its id)."""
        if self._mode is TrackerMode.online:
            begun = self._start_online(record, attempt)
            if begun is not None:
                return begun
        return self._init(record, attempt), attempt

    def _start_online(self, record: Record, attempt: int) -> tuple[Any, int] | None:
        """(the begun run, the suffix of its id); None when the server cannot be used, and the mode is offline now."""
        from wandb.errors import Error

        for number in range(attempt, attempt + MAX_DELETED):
            try:
                log_in()
                return self._init(record, number), number
            except Error as error:
                if DELETED not in str(error):
                    self._go_offline(reason_of(error))
                    return None
                _end_service()
        self._go_offline(f"{MAX_DELETED} ids of {record.name} were deleted on {server_url()}")
        return None

    def _go_offline(self, reason: str) -> None:
        """Keep runs here from now on, and say why."""
        report(f"W&B: {reason}. Runs are kept offline from here on; no result is lost.")
        self._mode = TrackerMode.offline
        _end_service()

    def _init(self, record: Record, attempt: int) -> Any:
        wandb = _wandb(self._mode)
        is_online = self._mode is TrackerMode.online
        return wandb.init(
            id=f"{record.cell_id}-{attempt}",
            name=record.name,
            group=record.group,
            job_type=record.result["axes"]["method"],
            tags=run_tags(record.result),
            config=run_config(record.config, record.result),
            project=self._config.project or wandb.setup().settings.project or "prune",
            entity=self._config.entity,
            mode=self._mode.value,
            resume="allow" if is_online else None,
            dir=self._folder,
            settings=_settings(wandb),
        )


def _wandb(mode: TrackerMode) -> Any:
    """The package, set to print nothing."""
    import wandb

    wandb.setup(wandb.Settings(silent=True, mode=mode.value))
    return wandb


def _settings(wandb: Any) -> Any:
    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,  # result.json has it
        x_disable_stats=True,  # the work is over; gpu.jsonl has samples of it
        init_timeout=INIT_TIMEOUT_S,
        finish_timeout=FINISH_TIMEOUT_S,
        finish_timeout_raises=True,
        x_graphql_retry_max=NUM_RETRIES,
        x_graphql_retry_wait_min_seconds=RETRY_WAIT_S[0],
        x_graphql_retry_wait_max_seconds=RETRY_WAIT_S[1],
    )


def log_in() -> None:
    """Find the key, without a question to the user.

    Raises:
        wandb.errors.UsageError: there is none.
    """
    wandb = _wandb(TrackerMode.online)
    if not wandb.login(prompt=False, verify=False):
        raise wandb.errors.UsageError("there is no API key: type wandb login, or set WANDB_API_KEY")


def key_owner(timeout_s: int) -> str:
    """The owner of the API key, as W&B answers within the time. Raises what W&B raises."""
    lead_cache(Path(tempfile.gettempdir()) / f"prune-wandb-{os.getuid()}")
    log_in()
    return str(_wandb(TrackerMode.online).Api(timeout=timeout_s).default_entity)


def _fill(run: Any, numbers: Mapping[str, float], history: Sequence[Mapping[str, float]]) -> None:
    """Log the lines that the run does not have yet, and all numbers."""
    run.define_metric(BLOCK, hidden=True, summary="none")
    run.define_metric(f"{BLOCK}/*", step_metric=BLOCK, summary="none")
    run.define_metric(SECONDS, hidden=True, summary="none")
    run.define_metric("gpu/*", step_metric=SECONDS, summary="none")
    for step, line in enumerate(history):
        if step >= run.starting_step:  # a continued run has the others
            run.log(dict(line), step=step)
    run.summary.update(dict(numbers))


@contextmanager
def _finishing(run: Any) -> Iterator[None]:
    """Finish `run` after what happens inside, whatever it raises.

    Raises:
        NotSentError: the server was too slow, or is gone.
    """
    try:
        yield
    except BaseException:
        with suppress(TimeoutError):
            run.finish(exit_code=1)
        raise
    try:
        run.finish()
    except TimeoutError:
        raise NotSentError(f"not within {FINISH_TIMEOUT_S:g} s") from None


def _check_taken(folder: Path) -> None:
    """Look into W&B's own log of a run.

    Raises:
        NotSentError: the server refused something.
    """
    log = folder / "logs" / "debug-internal.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    if any(words in line for line in lines for words in NOT_TAKEN):
        raise NotSentError(f"it refused some, see {log}")


def _end_service() -> None:
    """End W&B's service: it holds the id of a run that failed to begin, and goes on with requests that are given up."""
    import wandb

    wandb.teardown()


def server_url() -> str:
    """Where runs are sent to."""
    import wandb

    return str(wandb.setup().settings.base_url)


def reason_of(error: BaseException) -> str:
    """Why W&B cannot be used, for people."""
    from wandb.errors import AuthenticationError, UsageError

    text = _first_line(error)
    is_bad_key = isinstance(error, AuthenticationError) and "verify" not in text  # not even sent: its form is wrong
    if isinstance(error, UsageError) or is_bad_key:
        return text
    if KEY_REFUSED.search(str(error)):
        return f"{server_url()} refuses the API key ({text})"
    return f"{server_url()} cannot be reached ({text})"


def _first_line(error: BaseException) -> str:
    """The first line of an error; of refused settings, which pydantic lists below a heading, all lines."""
    refused = getattr(error, "errors", None)
    if isinstance(error, ValueError) and callable(refused):
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']} ({one['input']!r})" for one in refused())
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """Keep the tracebacks of log lines that a full disk does not take off the screen: W&B writes many."""
    shown, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = shown
