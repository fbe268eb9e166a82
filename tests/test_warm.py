"""A line that is run warm is told from one that Python starts by nothing that tests look at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import HANGS_S
from tests.warm import run_warm

PROGRAM = """
import atexit, os, sys, threading, time
print(sys.argv[1:], os.getcwd(), sys.path[:2], __name__, os.environ["TOLD"], sys.stdin.read(), sys.stdout.isatty())
print("and errors", file=sys.stderr)
atexit.register(print, "at the end")
threading.Thread(target=lambda: (time.sleep(0.05), print("in a thread"))).start()
sys.exit(eval(sys.argv[1]))
"""


@pytest.mark.parametrize("status", ["None", "0", "3", "'why it failed'", "1 / 0"])
def test_it_is_what_python_starts(tmp_path: Path, status: str) -> None:
    (tmp_path / "a_program.py").write_text(PROGRAM)
    environment = os.environ | {"TOLD": "by the test", "PYTHONPATH": "/nowhere"}
    line = [sys.executable, "-m", "a_program", status, "more"]
    alone = subprocess.run(
        line, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    warm = run_warm("a_program", [status, "more"], tmp_path, environment, HANGS_S)
    assert (warm.returncode, warm.stdout, warm.args) == (alone.returncode, alone.stdout, alone.args)
    assert warm.stderr.splitlines()[:1] == alone.stderr.splitlines()[:1] == ["and errors"]
    assert warm.stderr.splitlines()[-1] == alone.stderr.splitlines()[-1]


def test_what_does_not_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "a_program.py").write_text("import time\ntime.sleep(1)\n")
    with pytest.raises(subprocess.TimeoutExpired):
        run_warm("a_program", [], tmp_path, os.environ | {"OMP_NUM_THREADS": "3"}, 0)
