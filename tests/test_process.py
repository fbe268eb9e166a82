"""A process in short: alive, dead, or on a machine that cannot be asked from here."""

import os
import subprocess
import sys

import pytest

from prune.process import lives, own_tag, start_time


def test_this_process_lives_under_its_tag() -> None:
    assert lives(own_tag()) is True
    assert own_tag() == own_tag()


def test_a_process_that_ended_is_dead_also_before_its_parent_looks() -> None:
    program = "from prune.process import own_tag; print(own_tag(), flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    tag = process.stdout.readline().strip()
    assert lives(tag) is True and tag.split("-")[:2] == own_tag().split("-")[:2]
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert start_time(process.pid) is None and lives(tag) is False, "only its entry is left"
    process.communicate()
    assert lives(tag) is False


@pytest.mark.parametrize(("part", "value", "alive"), [(0, "00000000", None), (1, "00000000", False), (3, "1", False)])
def test_what_differs(part: int, value: str, alive: bool | None) -> None:
    parts = own_tag().split("-")
    parts[part] = value
    assert lives("-".join(parts)) is alive
