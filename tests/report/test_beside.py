import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prune.errors import UserError
from prune.report.output.beside import Beside
from tests.conftest import HANGS_S


def test_it_works_at_the_same_time(tmp_path: Path) -> None:
    """Each end of a named pipe waits for the other: the helper's call returns only if this process goes on meanwhile."""
    os.mkfifo(tmp_path / "pipe")
    with Beside("the helper", "os", "open") as process:
        opened = process.call(tmp_path / "pipe", os.O_RDONLY)
        os.close(os.open(tmp_path / "pipe", os.O_WRONLY))
        assert isinstance(opened(), int)
    assert process._process.exitcode == 0


def test_it_is_another_process() -> None:
    with Beside("the helper", "os", "getpid") as process:
        assert process.call()() == process._process.pid != os.getpid()


def test_what_a_function_raises_is_raised_here_with_where_it_was() -> None:
    expected = pytest.raises(ValueError, match=r"math domain error|nonnegative")
    with Beside("the helper", "math", "sqrt") as process, expected as raised:
        process.call(-1.0)()
    assert "beside.py" in raised.value.__notes__[0]


def test_an_error_for_the_user_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    expected = pytest.raises(UserError, match="could not be written: File exists")
    with Beside("the helper", "prune.files", "write_text") as process, expected:
        process.call(path / "x", "text")()


def test_a_process_that_is_killed() -> None:
    with Beside("The process that helps", "time", "sleep") as process:
        wait = process.call(60)
        assert process._process.pid is not None
        os.kill(process._process.pid, signal.SIGKILL)
        with pytest.raises(UserError, match=r"The process that helps ended with -9 .*want of memory"):
            wait()
    assert process._process.exitcode == -9


def test_it_ends_when_nobody_wants_it() -> None:
    with Beside("the helper", "math", "sqrt") as process:
        pass
    assert process._process.exitcode == 0
    with pytest.raises(KeyError), Beside("the helper", "time", "sleep") as process:
        process.call(60)
        raise KeyError
    assert process._process.exitcode == -signal.SIGTERM


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """Both hold the error stream, which ends when the last of them does."""
    program = tmp_path / "program.py"
    program.write_text("""
import time
from prune.report.output.beside import Beside
if __name__ == "__main__":
    print(Beside("the helper", "math", "sqrt")._process.pid, flush=True)
    time.sleep(60)
""")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    line = [sys.executable, str(program)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        assert parent.communicate(timeout=HANGS_S) == ("", "")
    assert child != parent.pid
