"""What is told of an error that stops a cell whose rows are private: nothing that a library may have quoted from them."""

import traceback

from prune.cell.lock import CellHeldError
from prune.data.privacy import UNTOLD
from prune.errors import OutOfMemoryError, UserError

OURS = (UserError, OutOfMemoryError, CellHeldError, OSError, MemoryError)
"""Errors whose words are of this program or of the system, and quote no row where rows are private."""


class UntoldError(Exception):
    """An error whose message is left out, as it may quote rows."""


def without_rows(error: BaseException) -> BaseException:
    """The error to raise in the place of `error`: itself without its causes, or its type and place alone."""
    says_no_row = (
        isinstance(error, OURS) or not isinstance(error, Exception) or type(error).__module__.startswith("submitit")
    )
    if says_no_row:
        error.__cause__ = None
        error.__suppress_context__ = True
        return error
    last = traceback.extract_tb(error.__traceback__)[-1]
    untold = UntoldError(f"{type(error).__name__} in {last.filename}, line {last.lineno} ({UNTOLD})")
    return untold.with_traceback(error.__traceback__)
