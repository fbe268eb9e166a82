"""The archive of a study: its report is that of the cells, its cells are finished, and no row and no path is in it."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from dev.study import pack, unpack
from dev.study_contrasts import NOISE_ROW
from dev.study_tables import read_cells
from prune.report.build import build_report
from prune.report.output.tables import write_cells, write_tables
from tests.conftest import HANGS_S, RunLine
from tests.warm import run_warm

LINE = (
    *("-m", "calib=c4,gsm8k", "calib.num_samples=4", "calib.seq_len=32", "method=magnitude,wanda"),
    *("eval.perplexity=[wikitext2]", "eval.tasks=[gsm8k]", "eval.protocols=[bpb]", "eval.limit=4", "eval.num_chunks=2"),
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished sweep."""
    folder = tmp_path_factory.mktemp("study") / "first"
    done = run_warm("prune.main", [*LINE, f"output_dir={folder}"], folder.parent, os.environ, HANGS_S)
    assert done.returncode == 0, done.stderr
    return folder


def tables(outputs: Path) -> str:
    report = build_report(outputs)
    assert len(report.cells.id) == 4
    write_tables(report, outputs)
    return (outputs / "tables.md").read_text()


def test_an_archive_gives_the_same_report_and_finished_cells(sweep: Path, run_line: RunLine, tmp_path: Path) -> None:
    archive, second = tmp_path / "study.tar.xz", tmp_path / "second"
    pack(sweep, archive, {str(sweep): "outputs"})
    unpack(archive, second)
    assert tables(second) == tables(sweep)
    again = run_line(*LINE, f"output_dir={second}")
    assert again.returncode == 0, again.stderr
    assert "[1/" not in again.stdout + again.stderr


def test_an_archive_goes_on_with_cells_on_its_sets(sweep: Path, run_line: RunLine, tmp_path: Path) -> None:
    archive, second = tmp_path / "study.tar.xz", tmp_path / "second"
    pack(sweep, archive, {str(sweep): "outputs"})
    unpack(archive, second)
    more = run_line(*LINE, f"output_dir={second}", "sparsity.ratio=0.6")
    assert more.returncode == 0, more.stderr
    tokens = sorted(sweep.glob("calib/*/tokens.safetensors"))
    assert len(tokens) == 2
    for path in tokens:
        assert (second / path.relative_to(sweep)).read_bytes() == path.read_bytes()


def test_an_archive_holds_no_row_and_no_path(sweep: Path, tmp_path: Path) -> None:
    archive = tmp_path / "study.tar.xz"
    pack(sweep, archive, {str(sweep): "outputs"})
    with tarfile.open(archive) as packed:
        texts = {entry.name: packed.extractfile(entry).read().decode() for entry in packed}  # type: ignore[union-attr]
    items = sorted(sweep.glob("cells/*/items/bpb-gsm8k.jsonl.gz"))[0]
    first = json.loads(gzip.decompress(items.read_bytes()).splitlines()[0])
    whole = "\n".join(texts.values())
    assert json.dumps(first["prompt"])[1:-1] not in whole
    assert str(sweep.parent) not in whole and os.uname().nodename + '"' not in whole
    assert '"gold"' not in whole and '"prompt":' in json.dumps(first)
    assert not re.search(r"tokens\.safetensors|run\.log|wandb", "\n".join(texts))


def test_the_noise_row_is_a_row_of_its_own(sweep: Path, run_line: RunLine, tmp_path: Path) -> None:
    both = tmp_path / "both"
    shutil.copytree(sweep, both)
    more = run_line("-m", "calib=c4", *LINE[2:4], "method=wanda", *LINE[5:], "calib.reverse=true", f"output_dir={both}")
    assert more.returncode == 0, more.stderr
    write_cells(build_report(both), both)
    groups, _ = read_cells(both / "cells.csv")
    assert set(groups["wanda", "50%"]) == {"c4", NOISE_ROW, "gsm8k-icl"}


def test_an_archive_of_one_sweep_has_its_cells_alone(sweep: Path, run_line: RunLine, tmp_path: Path) -> None:
    both = tmp_path / "both"
    shutil.copytree(sweep, both)
    more = run_line(*LINE[:4], "method=magnitude", *LINE[5:], "sparsity.ratio=0.3", "sweep.name=other", f"output_dir={both}")
    assert more.returncode == 0, more.stderr
    (first,) = (path.name for path in (sweep / "sweeps").iterdir())
    pack(both, tmp_path / "one.tar.xz", {str(sweep): "outputs", str(both): "outputs"}, [f"{first[:6]}*"])
    unpack(tmp_path / "one.tar.xz", tmp_path / "one")
    assert [path.name for path in (tmp_path / "one/sweeps").iterdir()] == [first]
    assert tables(tmp_path / "one") == tables(sweep)


def test_a_path_that_is_left_is_told(sweep: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dev.study", "pack", str(sweep), str(tmp_path / "study.tar.xz")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "names a folder of this machine: give --replace FOLDER=NAME" in done.stderr
    assert not (tmp_path / "study.tar.xz").exists()
