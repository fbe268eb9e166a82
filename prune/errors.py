"""The exceptions that a user may meet; everything else is a bug of ours."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """A mistake that the user can correct. Shown as one message, without a traceback, exit code 2.

    The message says what is wrong, where (the field's path or the file and line), what is allowed, and what to do.
    """


class DamagedFileError(UserError):
    """A file of ours does not hold what was written to it."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} is damaged ({reason}). Remove it and run the same line again.")


FOLDER_OPTION = "output_dir=FOLDER"
"""How a line of prune.main chooses where files go."""


class NotWrittenError(UserError):
    """A disk did not take a file."""

    def naming(self, option: str) -> str:
        """The message of a command that chooses its folder by `option`."""
        return str(self).replace(FOLDER_OPTION, option)


class OutOfMemoryError(Exception):
    """A cell needs more memory than is available; the message says which settings lower it. Other cells may fit."""


class NotApplicableError(UserError):
    """A grid point that means nothing, like chain of thought on a set without rationales.

    In a sweep it is listed with this reason and the rest of the grid runs; alone it is an error.
    """


class SweepFailedError(Exception):
    """Cells of a sweep failed, and were listed; the process ends with `exit_code`."""

    def __init__(self, num_failed: int, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(f"{num_failed} cells failed")


@contextmanager
def interruptions(*others: type[BaseException]) -> Iterator[None]:
    """Let an interruption inside leave as itself, also where a library raised an error of its own in its place.

    Libraries clean up when they are interrupted, and the cleaning up may fail on what is half made: OmegaConf then raises
    AttributeError, ConfigKeyError or UnboundLocalError.

    Args:
        others: what stops a program here, beside KeyboardInterrupt.

    Raises:
        KeyboardInterrupt: an error inside came from it.
    """
    try:
        yield
    except Exception as error:
        stop = _found_below(error, (KeyboardInterrupt, *others))
        if stop is None:
            raise
        raise stop from None


def _found_below(error: BaseException, kinds: tuple[type[BaseException], ...]) -> BaseException | None:
    """The first of `kinds` among the errors that were being handled, or are named as a cause, when `error` was raised."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        link = waiting.pop()
        if isinstance(link, kinds):
            return link
        seen.append(link)
        waiting += [each for each in (link.__cause__, link.__context__) if each is not None and each not in seen]
    return None


def allowed(name: str, names: Iterable[str]) -> str:
    """`Did you mean a? Allowed: a, b.` for a name that is not among `names`."""
    known = list(names)
    return f"{nearest(name, known)}Allowed: {', '.join(known) or 'none'}."


def nearest(name: str, names: Iterable[str]) -> str:
    """`Did you mean a or b? ` for the names most like `name`, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=3)
    return f"Did you mean {' or '.join(close)}? " if close else ""
