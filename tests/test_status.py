"""What `python -m prune.status` says of sweeps whose cells stand everywhere."""

import io
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.console import Console

import prune.status
from prune.cell.folder import SCHEMA, CellFolder
from prune.cell.holder import this_process
from prune.cell.lock import claim
from prune.cell.slurm_queue import Job, SlurmUnavailableError
from prune.cell.standing import write_submission
from prune.cell.state import State, write_status
from prune.status import main, read_lines, render_sweep

from .conftest import Said

NAMES = {"a": "tiny/c4/wanda/50%/s0", "b": "tiny/pile/wanda/50%/s0", "c": "tiny/gsm8k-icl/wanda/50%/s0", "d": "tiny/rte/x"}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A sweep of five cells: dense done, one running, one pending, one failed, one to do; and a point without meaning."""
    rows = [{"cell": cell, "dense_cell": "0", "name": name, "not_applicable": None} for cell, name in NAMES.items()]
    rows.append({"cell": None, "dense_cell": None, "name": "tiny/void", "not_applicable": "it means nothing"})
    sweep = tmp_path / "outputs/sweeps/first"
    sweep.mkdir(parents=True)
    (sweep / "grid.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cells = tmp_path / "outputs/cells"
    for cell in "0abc":
        (cells / cell).mkdir(parents=True)
    write_status(cells / "0", State.done, job="7_0")
    CellFolder(cells / "0").write_result({"schema": SCHEMA, "seconds": {"total": 3725.2}})
    write_submission(cells / "b", "7_2", tmp_path / "absent", "first")
    write_status(cells / "c", State.failed, "TIMEOUT: its time was over", "7_3")
    return tmp_path / "outputs"


def test_each_cell_is_listed_where_it_stands(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = {"7_2": Job("7_2", "PENDING", "Priority", "", "0:00", "4:00:00")}
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with claim(outputs / "cells/a"):
        write_status(outputs / "cells/a", State.running)
        lines = read_lines(outputs / "sweeps/first", outputs, queue)
    assert [(line.name, line.standing.state.value) for line in lines] == [
        ("tiny/dense", "done"),
        (NAMES["a"], "running"),
        (NAMES["b"], "pending"),
        (NAMES["c"], "failed"),
        (NAMES["d"], "todo"),
    ]
    assert re.fullmatch(r"0:0\d", lines[1].used)
    assert [line.used for line in lines if line is not lines[1]] == ["1:02:05", "", "", ""]
    assert [line.job_id for line in lines] == ["7_0", "", "7_2", "7_3", ""]
    console = Console(width=200, record=True, file=io.StringIO())
    for part in render_sweep("first", lines, every_cell=False, is_open=True):
        console.print(part)
    text = console.export_text()
    assert "5 cells   done 1   running 1   pending 1   failed 1   to do 1" in text
    assert "Priority" in text and "4:00:00" in text and "1:02:05" not in text
    assert f"{NAMES['c']} TIMEOUT (job 7_3): its time was over" in text


@pytest.mark.parametrize(
    ("state", "finished", "shown"),
    [
        (State.running, "2099-01-01T00:00:00+00:00", "done"),
        (State.running, "2000-01-01T00:00:00+00:00", "done"),
        (State.failed, "2099-01-01T00:00:00+00:00", "done"),
    ],
    ids=["killed after result.json", "killed while a score was added", "a score that was added failed"],
)
def test_a_result_with_all_that_the_sweep_asks_counts_however_a_later_run_ended(
    outputs: Path, state: State, finished: str, shown: str
) -> None:
    ran = {"host": socket.gethostname(), "finished": finished}
    CellFolder(outputs / "cells/0").write_result({"schema": SCHEMA, "seconds": {"total": 1.0}, "provenance": ran})
    write_status(outputs / "cells/0", state, None if state is State.running else "ValueError: no")
    assert read_lines(outputs / "sweeps/first", outputs, {})[0].standing.state.value == shown


def test_a_damaged_result_costs_its_own_cell_only(outputs: Path) -> None:
    (outputs / "cells/0/result.json").write_text("{}")
    states = [line.standing.state.value for line in read_lines(outputs / "sweeps/first", outputs, {})]
    assert states == ["failed", "todo", "failed", "failed", "todo"]


Run = Callable[..., Said]


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `main` on a machine without Slurm."""

    def silent() -> dict[str, Job]:
        raise SlurmUnavailableError("no controller")

    monkeypatch.setattr(prune.status, "queued_jobs", silent)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Said:
        try:
            main(arguments)
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


def test_without_slurm_the_files_speak_and_the_silence_is_said(outputs: Path, status: Run) -> None:
    said = status(str(outputs))
    assert said.code == 0 and "Slurm does not answer (no controller)" in said.out
    assert "5 cells   done 1   running 0   pending 0   failed 2   to do 2" in said.out


def test_names_that_do_not_exist(outputs: Path, status: Run) -> None:
    said = status(str(outputs), "--sweep", "frist")
    assert said.code == 2 and "Did you mean first?" in said.err
    said = status(str(outputs / "nowhere"))
    assert said.code == 2 and "holds no sweeps" in said.err


def test_every_cell_on_request_and_watching_ends_when_nothing_is_on_its_way(outputs: Path, status: Run) -> None:
    assert "tiny/dense" not in status(str(outputs)).out
    assert "tiny/dense" in status(str(outputs), "--all").out
    assert "5 cells   done 1" in status(str(outputs), "--watch").out


def test_it_answers_without_torch(outputs: Path) -> None:
    program = "import sys; from prune.status import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, str(outputs)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "first" in done.stdout


def states(outputs: Path, sweep: str = "first") -> dict[str, str]:
    return {line.id: line.standing.state.value for line in read_lines(outputs / "sweeps" / sweep, outputs, {})}


def test_a_result_counts_before_what_a_killed_process_said(outputs: Path) -> None:
    write_status(outputs / "cells/0", State.running)
    assert states(outputs)["0"] == "done"


def test_a_cell_is_done_for_the_sweeps_that_ask_no_more_than_it_has(outputs: Path) -> None:
    (outputs / "cells/0/scores").mkdir()
    (outputs / "cells/0/scores/acc-rte-1.json").write_text("{}")
    for sweep, scores in {"few": ["acc-rte-1.json"], "more": ["acc-rte-1.json", "acc-rte-2.json"]}.items():
        (outputs / "sweeps" / sweep).mkdir()
        row = {"cell": "0", "dense_cell": "0", "name": "tiny/dense", "not_applicable": None, "scores": scores}
        (outputs / "sweeps" / sweep / "grid.jsonl").write_text(json.dumps(row) + "\n")
    assert (states(outputs, "few"), states(outputs, "more")) == ({"0": "done"}, {"0": "todo"})


NEEDED = [("0", "result.json"), ("a", "result.json"), ("b", "job.json"), ("c", "status.json")]
WRONG = ["", "{", "{}", "[]", "null", '{"state": 3}', "\0"]


@pytest.mark.parametrize(
    ("cell", "name", "content"),
    [
        *((*pair, content) for pair in NEEDED for content in WRONG),
        *(("a", ".claim-0", content) for content in WRONG if content),  # an empty one was given back
    ],
)
def test_a_damaged_file_is_named_and_costs_no_other_cell(
    outputs: Path, status: Run, cell: str, name: str, content: str
) -> None:
    before = states(outputs)
    (outputs / "cells" / cell / name).write_text(content)
    assert states(outputs) == before | {cell: "failed"}
    said = status(str(outputs))
    assert said.code == 0 and f"{cell}/{name} is damaged" in said.out.replace("\n", "")


@pytest.mark.parametrize("content", WRONG)
@pytest.mark.parametrize("name", ["status.json", "job.json", ".claim-0"])
def test_what_is_damaged_beside_a_result_does_not_matter(outputs: Path, name: str, content: str) -> None:
    (outputs / "cells/0" / name).write_text(content)
    assert states(outputs)["0"] == "done"


@pytest.mark.parametrize("line", ['{"cell": "a"', "{}", "[]", "null", '{"cell": 1, "dense_cell": "0", "name": "x"}', "\0"])
def test_a_damaged_line_of_a_grid_is_named_and_the_others_are_shown(outputs: Path, status: Run, line: str) -> None:
    path = outputs / "sweeps/first/grid.jsonl"
    path.write_text(path.read_text() + line)
    said = status(str(outputs))
    assert said.code == 0 and "5 cells" in said.out
    assert "grid.jsonl is damaged (line 6): points are missing." in " ".join(said.out.split())


def test_who_may_be_dead_is_named_with_what_to_remove(outputs: Path, status: Run) -> None:
    holder = replace(this_process(), host="node17", user="alice", uid=1234, job_id="9", cluster="lab")
    (outputs / "cells/a/.claim-0").write_text(json.dumps(asdict(holder)))
    said = " ".join(status(str(outputs)).out.split())
    assert "running 1" in said and "on node17 (alice, job 9), since" in said
    assert re.search(r"it cannot be checked from here; if it is gone, remove \S*cells/a/\.claim-0", said)
