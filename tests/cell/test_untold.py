"""What is told of an error that stops a cell whose rows are private."""

import traceback
from typing import Any

import pytest
from submitit.core.utils import UncompletedJobError

from prune.cell.untold import UntoldError, without_rows
from prune.errors import OutOfMemoryError, UserError


def caught(error: BaseException) -> BaseException:
    """The error as it is raised while another is handled."""
    try:
        try:
            raise ValueError("secret")
        except ValueError as below:
            raise error from below
    except BaseException as raised:
        return raised


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "error",
    [
        UserError("ours"),
        OutOfMemoryError("ours"),
        OSError(28, "ours"),
        UncompletedJobError("ours"),
        KeyboardInterrupt("ours"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_in_our_words_stay_without_their_causes(error: Any) -> None:
    told = without_rows(caught(error))
    assert told is error and "ours" in shown(told) and "secret" not in shown(told)


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, KeyError, UnicodeError])
def test_of_others_type_and_place_stay(kind: type[Exception]) -> None:
    told = without_rows(caught(kind("secret")))
    assert isinstance(told, UntoldError)
    assert f"{kind.__name__} in {__file__}, line " in str(told) and "in caught" in shown(told)
    assert "'secret'" not in shown(told) and ": secret" not in shown(told)
