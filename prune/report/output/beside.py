"""One call in a second process: it takes no time from this one, where there is another core."""

import gc
import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from prune.errors import UserError


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Beside:
    """A process that gets ready for one call of a function of a module, makes it, and is gone after the block.

    Started anew, not forked: a fork would copy locks that the threads of libraries hold. (The standard library's pools leave
    their processes behind when this one is killed; a process that waits at a pipe ends with it.)
    """

    def __init__(self, name: str, module: str, function: str) -> None:
        """Start it without waiting for it; `name` is what it is to a reader: `The process that draws the figures`."""
        self._name = name
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_answer, args=(theirs, module, function), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()
        if error is not None:
            self._process.terminate()
        self._process.join()

    def call(self, *arguments: object) -> Callable[[], Any]:
        """Let it make its call; what is returned waits for the result.

        That raises what the function raised, or a UserError when the process died.
        """
        with suppress(BrokenPipeError):  # it died: whoever waits for the result is told
            self._connection.send(arguments)
        return self._result

    def _result(self) -> Any:
        try:
            result, error = self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            raise UserError(
                f"{self._name} ended with {self._process.exitcode} (-9: it was killed, often for want of memory). "
                "Run the same line again, with more memory or on fewer cells (--sweep, --model, --metric)."
            ) from None
        if error is not None:
            raise error
        return result


def _answer(connection: Connection, module: str, function: str) -> None:
    """Wait for the arguments of one call, and send (result, None) or (None, what was raised)."""
    gc.disable()  # there are millions of numbers to go through and hardly a cycle to find
    call = getattr(import_module(module), function)
    try:
        arguments = connection.recv()
    except EOFError:
        return  # nobody wants it any more
    try:
        connection.send((call(*arguments), None))
    except Exception as error:  # raised where the result is waited for
        error.add_note(traceback.format_exc())  # a traceback itself does not travel
        connection.send((None, error))
