"""A cell that is killed at any moment: the same line finishes it with the same numbers and leaves nothing behind."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HANGS_S, TESTS

LINE = ["calib=c4", "calib.num_samples=2", "calib.seq_len=64", "method=wanda", "save=mask", "tracker=none", "device=cpu"]
LINE += ["eval.perplexity=[]", "eval.tasks=[rte]", "eval.limit=2", "eval.num_fewshot=0"]


def files(said: dict[str, Any]) -> set[str]:
    """The files that a cell leaves; which number its claim has got to does not matter."""
    return {re.sub(r"\.claim-\d+$", ".claim", path) for path in said["left"]}


@pytest.mark.slow
def test_a_cell_killed_before_any_change_of_a_file_is_finished_by_the_same_line(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.cell.killed_cell", str(tmp_path), *LINE]
    done = subprocess.run(program, cwd=TESTS.parent, capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert done.returncode == 0, done.stderr
    *killed, whole = [json.loads(line) for line in done.stdout.splitlines()]
    assert whole["ended"] == whole["again"] == 0 and whole["kept"] is not None
    assert len(killed) > 20 and {each["at"].partition(" ")[0] for each in killed} >= {"open", "os.link", "os.rename"}
    for each in killed:
        assert (each["ended"], each["again"]) == (-9, 0), each["at"]
        assert each["kept"] == whole["kept"], each["at"]
        assert files(each) == files(whole), each["at"]
