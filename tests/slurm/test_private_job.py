"""With privacy=true no text of rows lies in what jobs leave: their logs, what sbatch was given, their cells."""

import gzip
import json
import os
from pathlib import Path

import pytest

from prune.data.sources.sample import sample_rows
from tests.slurm.cluster import Cluster
from tests.slurm.lines import SLURM, Folder

MARK = "zwolfkreuz"
"""Stands in every row, and in nothing else."""

SETS = {"c4": (("train", "validation"), "text"), "gsm8k": (("train", "test"), "question")}
"""Set -> its splits, and a column of text."""

SPOIL = f"""
import importlib.abc, os, sys

class Spoil(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "prune.cell.run":
            sys.meta_path.remove(self)
            import prune.eval.measure
            prune.eval.measure.measure = fail

def fail(*_):
    raise RuntimeError("cannot measure " + "{MARK[::-1]}"[::-1])

if "SLURM_JOB_ID" in os.environ:
    sys.meta_path.insert(0, Spoil())
"""
"""A library of the jobs that fails, and quotes a row in what it says; the marker does not stand in its own lines."""


def write_rows(root: Path) -> None:
    """Rows with the marker."""
    for name, (splits, column) in SETS.items():
        for split in splits:
            path = root / name / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [row | {column: f"{MARK} {row[column]}"} for row in sample_rows(name, split)]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def marked(folder: Path) -> set[str]:
    """The folders below the outputs whose files hold the marker."""
    files = [path for path in (folder / "outputs").glob("**/*") if path.is_file()]
    return {
        str(path.relative_to(folder / "outputs").parent)
        for path in files
        if MARK.encode() in (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    }


@pytest.mark.slow
def test_logs_of_private_jobs_hold_no_text_of_rows(cluster: Cluster, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows")
    folder = Folder(tmp_path / "work")
    folder.path.mkdir()
    line = [
        *("data=local", f"data.root={tmp_path}/rows", "calib=gsm8k", "calib.num_samples=2", "calib.seq_len=64"),
        *("eval.perplexity=[c4]", "eval.num_chunks=1", "eval.seq_len=64", "eval.tasks=[gsm8k]", "eval.limit=2"),
        *("eval.num_fewshot=1", "sweep.name=mine", *SLURM, "launcher.cells_per_job=2"),
    ]
    said = folder.run(*line, "privacy=true")
    assert said.code == 0 and MARK not in said.out + said.err, said
    assert list(folder.path.glob("outputs/sweeps/mine/jobs/*.out")), "there are logs to search"
    assert marked(folder.path) == set()

    (tmp_path / "library").mkdir()
    (tmp_path / "library/sitecustomize.py").write_text(SPOIL)
    spoilt = Folder(tmp_path / "spoilt", {"PYTHONPATH": f"{tmp_path}/library:{os.environ.get('PYTHONPATH', '')}"})
    spoilt.path.mkdir()
    said = spoilt.run(*line, "privacy=true")
    assert said.code != 0 and MARK not in said.out + said.err and "UntoldError: RuntimeError in " in said.err
    assert marked(spoilt.path) == set()
    said = spoilt.run(*line)
    assert said.code != 0 and MARK in said.err
    assert "sweeps/mine/jobs" in marked(spoilt.path), "without the key a job's log quotes what the library says"
