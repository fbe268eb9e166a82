import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from prune.errors import UserError
from prune.report.build import build_report
from prune.report.model import Report
from prune.report.output import drawing
from prune.report.output.drawing import drawing_process
from tests.conftest import HANGS_S
from tests.report.result_files import Outputs


@pytest.fixture
def report(outputs: Outputs) -> Iterator[Report]:
    for name in ("c4", "pile"):
        outputs.cell(name, scores={"acc/rte": [0, 1, 1]})
    return build_report(outputs.root)


def test_it_draws_in_another_process(report: Report, tmp_path: Path) -> None:
    with drawing_process() as start:
        assert start(report, tmp_path / "figures")() == []
    assert [path.suffix for path in sorted((tmp_path / "figures").iterdir())] == [".png", ".svg"]


def test_an_error_for_the_user_stays_one(report: Report, tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("")
    with drawing_process() as start, pytest.raises(UserError, match="could not be written"):
        start(report, tmp_path / "figures")()


def test_a_process_that_is_killed(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pools = []

    class Pool(ProcessPoolExecutor):
        def __init__(self, *arguments: object, **settings: object) -> None:
            super().__init__(*arguments, **settings)  # type: ignore[arg-type]
            pools.append(self)

    monkeypatch.setattr(drawing, "ProcessPoolExecutor", Pool)
    with drawing_process() as start:
        (process,) = pools[0]._processes.values()
        os.kill(process.pid, signal.SIGSTOP)
        finish = start(report, tmp_path / "figures")
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(UserError, match=r"The process that draws the figures was killed, .*too little memory"):
            finish()


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """Both hold the error stream, which ends when the last of them does."""
    program = tmp_path / "program.py"
    program.write_text("""
import time
from multiprocessing import active_children
from prune.report.output.drawing import drawing_process
if __name__ == "__main__":
    with drawing_process():
        print(active_children()[0].pid, flush=True)
        time.sleep(60)
""")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    line = [sys.executable, str(program)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        output, errors = parent.communicate(timeout=HANGS_S)
    assert (output, "Traceback" in errors) == ("", False)
    assert child != parent.pid
