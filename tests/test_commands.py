"""Each command by itself: the list of them, and the option of the one that was typed."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from prune.errors import NotWrittenError, UserError
from prune.files import write_text
from prune.report.__main__ import main as report_main
from tests.report.result_files import Outputs

COMMANDS = ("main", "status", "report", "apply", "merge", "dashboard")


def test_the_package_lists_its_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for asked, code in (([], 0), (["--help"], 0), (["-m", "calib=c4"], 2)):
        monkeypatch.setattr(sys, "argv", ["prune", *asked])
        with pytest.raises(SystemExit) as leaving:
            runpy.run_module("prune", run_name="__main__")
        said = capsys.readouterr()
        assert leaving.value.code == code
        lines = (said.err if code else said.out).splitlines()
        assert [line.split()[2] for line in lines] == [f"prune.{name}" for name in COMMANDS]


def test_a_report_that_cannot_be_written_names_its_own_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = Outputs(tmp_path)
    for name in ("c4", "pile"):
        outputs.cell(name, scores={"acc/rte": (1.0, 0.0, 1.0)})
    (tmp_path / "report").write_text("a file")
    with pytest.raises(SystemExit) as leaving:
        report_main([str(tmp_path)])
    said = capsys.readouterr().err
    assert leaving.value.code == 2 and "could not be written" in said and "with --out DIR" in said, said
    assert "output_dir" not in said
    report_main([str(tmp_path), "--out", str(tmp_path / "mine")])
    assert (tmp_path / "mine/index.html").exists()


def test_the_folder_of_a_line_is_named_as_the_line_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWrittenError, match="output_dir=FOLDER") as refused:
        write_text(tmp_path / "file/x", "text")
    assert isinstance(refused.value, UserError) and refused.value.naming("OUT").endswith("can be written with OUT.")


def test_the_list_of_commands_ends_quietly_where_nobody_reads_it() -> None:
    """As in `python -m prune | head`: the reader has gone before a word is written."""
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([sys.executable, "-m", "prune"], check=False, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert "Traceback" not in ended.stderr and "Exception" not in ended.stderr, ended.stderr
