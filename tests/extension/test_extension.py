"""What an installed package adds, with no line of prune changed: a set, a method and a launcher, by file,
YAML and entry point."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.extension.installed import LINE, install


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return install(tmp_path_factory.mktemp("site"))


def run(folder: Path, environment: dict[str, str], *overrides: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "prune.main", *overrides]
    return subprocess.run(line, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False)


def results(folder: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in folder.glob("outputs/cells/*/result.json")]
    return {result["name"]: result for result in found}


def test_a_cell_with_a_set_and_methods_of_both(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(tmp_path, environment, "-m", *LINE, "method=alternate,wanda")
    assert done.returncode == 0, done.stderr
    cells = results(tmp_path)
    assert set(cells) == {"tiny/dense", "tiny/alternate/50%", "tiny/capitals-icl/wanda/50%/s0"}
    assert cells["tiny/alternate/50%"]["sparsity"]["reached"] == 0.5
    assert cells["tiny/capitals-icl/wanda/50%/s0"]["metrics"]["acc/capitals"]["num_items"] == 2


def test_cells_are_run_by_the_launcher_of_the_extension(environment: dict[str, str], tmp_path: Path) -> None:
    line = ["-m", "method=random", "calib.seed=0,1", "eval.tasks=[]", "eval.perplexity=[]", "tracker=none"]
    refused = run(tmp_path, environment, *line, "launcher=backwards", "launcher.max_cells=2")
    assert refused.returncode == 2 and "launcher.max_cells=2 is less than 3" in refused.stderr
    assert list(tmp_path.iterdir()) == []
    done = run(tmp_path, environment, *line, "launcher=backwards")
    ran = [line.partition("] ")[2] for line in done.stdout.splitlines() if line.startswith("[")]
    assert ran == ["tiny/random/50%/s1", "tiny/random/50%/s0", "tiny/dense"], done
    assert set(results(tmp_path)) == set(ran) and "2 grid points, 2 distinct pruned cells" in done.stdout
    again = run(tmp_path, environment, *line, "launcher=backwards")
    assert again.returncode == 0 and "3 of 3 cells are finished already" in again.stdout


def test_a_knob_of_the_extension_is_checked(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(tmp_path, environment, *LINE, "method=alternate", "method.frist=1")
    assert done.returncode == 2 and "method.first" in done.stderr, done.stderr


def test_help_lists_the_options(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(tmp_path, environment, "--help")
    assert "alternate, dense" in done.stdout and "capitals, commonsense_qa" in done.stdout, done.stdout
    assert "launcher:   backwards, local" in done.stdout


def test_a_broken_extension_is_told(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "prune_capitals").mkdir()
    (tmp_path / "prune_capitals/__init__.py").write_text("raise ImportError('half installed')\n")
    hidden = environment | {"PYTHONPATH": os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])}
    done = run(tmp_path, hidden, "launcher=plan")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "prune-capitals offers" in done.stderr and "pip uninstall prune-capitals" in done.stderr


def test_without_it_its_options_are_unknown(tmp_path: Path) -> None:
    done = run(tmp_path, {}, "method=alternate", "launcher=plan")
    assert done.returncode == 2 and "method=alternate does not exist" in done.stderr
