"""What an installed package adds, with no line of prune changed: a set, a method, a selector and a launcher, by file,
YAML and entry point."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HANGS_S
from tests.extension.installed import LINE, SOURCE, install
from tests.warm import run_warm


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return install(tmp_path_factory.mktemp("site"))


def run(
    folder: Path, environment: dict[str, str], *overrides: str, module: str = "prune.main"
) -> "subprocess.CompletedProcess[str]":
    return run_warm(module, overrides, folder, os.environ | environment, HANGS_S)


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


def test_a_kind_of_score_is_planned_measured_printed_and_compared(environment: dict[str, str], tmp_path: Path) -> None:
    line = [*LINE, "eval.scores=[letters/capitals]", "method=magnitude", "table=wide"]
    planned = run(tmp_path, environment, "-m", *line, "eval.scores=[letters/capital]")
    assert planned.returncode == 2 and "eval.scores: There is no dataset named 'capital'" in planned.stderr
    done = run(tmp_path, environment, "-m", *line)
    assert done.returncode == 0, done.stderr
    scores = {name: result["metrics"]["letters/capitals"] for name, result in results(tmp_path).items()}
    dense, pruned = (scores[name]["value"] for name in ("tiny/dense", "tiny/magnitude/50%"))
    assert scores["tiny/dense"]["num_items"] == 2 and scores["tiny/dense"]["unit"] == "letters"
    difference = f"{pruned - dense:+.1f}" if pruned != dense else "0.0"
    assert f"{dense:.1f}" in done.stdout and f"d {difference}" in done.stdout, done.stdout
    assert "letters/capitals: lower is better; others: higher." in done.stdout
    kept = [json.loads(path.read_text())["asked"] for path in tmp_path.glob("outputs/cells/*/scores/letters-*.json")]
    assert [asked["extension"]["distribution"] for asked in kept] == ["prune-capitals"] * 2
    told = run(tmp_path, environment, module="prune.report")
    assert told.returncode == 0, told.stderr
    tables = "".join(path.read_text() for path in (tmp_path / "outputs/report").rglob("*.csv"))
    assert "letters/capitals" in tables, told.stdout


def test_a_kind_of_set_is_drawn_named_and_mixed(environment: dict[str, str], tmp_path: Path) -> None:
    words = ["calib.parts={countdown: 2, capitals: 2}", "calib.num_samples=4", "calib.seq_len=16", "method=wanda"]
    line = ["calib=countdown,mix", *words, "prompt=single"]
    done = run(tmp_path, environment, "-m", *(word for word in LINE if not word.startswith("calib")), *line)
    assert done.returncode == 0, done.stderr
    names = set(results(tmp_path))
    assert {"tiny/countdown/wanda/50%/s0", "tiny/capitals+countdown-single/wanda/50%/s0"} <= names, names
    manifests = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/calib/*/manifest.json")]
    alone = next(manifest for manifest in manifests if manifest.get("num_samples") == 4 and manifest["name"] == "countdown")
    assert alone["extension"]["distribution"] == "prune-capitals" and len(alone["starts"]) == 4
    refused = run(tmp_path, environment, "calib=countdown", "calib.seq_len=20000", "model.seq_len=64", "launcher=plan")
    assert refused.returncode == 2 and "is too long to count" in refused.stderr, refused.stderr


@pytest.mark.slow
def test_a_selector_chooses_says_why_and_counts_by_its_code(tmp_path: Path) -> None:
    environment = install(tmp_path / "site")
    line = [*LINE, "method=wanda", "prompt=single", "calib.num_samples=1", "select=loudest", "select.letters=P"]
    done = run(tmp_path, environment, *line)
    assert done.returncode == 0, done.stderr
    (manifest,) = (json.loads(path.read_text()) for path in tmp_path.glob("outputs/calib/*/manifest.json"))
    assert manifest["select"]["extension"]["distribution"] == "prune-capitals" and manifest["select"]["letters"] == "P"
    rows = [json.loads(text) for text in (SOURCE / "rows/capitals/train.jsonl").read_text().splitlines()]
    ((reason,),) = (sequence["why"] for sequence in manifest["sequences"])
    assert reason["capitals"] == max(json.dumps(row).count("P") for row in rows)
    assert "tiny/capitals-single-loudest/wanda/50%/s0" in results(tmp_path)
    path = tmp_path / "site/prune_capitals/loudest.py"
    path.write_text(path.read_text() + "\n# edited in place\n")
    assert run(tmp_path, environment, *line).returncode == 0
    assert len(list(tmp_path.glob("outputs/calib/*/manifest.json"))) == 2


@pytest.mark.slow
def test_a_token_weight_of_the_extension(environment: dict[str, str], tmp_path: Path) -> None:
    """It weighs, its knob counts, and its code is part of the cell."""
    line = [*LINE, "eval.tasks=[]", "method=wanda"]
    hashes = []
    for words in (["weight=none"], ["weight=ends"], ["weight=ends", "weight.last=3"]):
        done = run(tmp_path, environment, *line, *words)
        assert done.returncode == 0, done.stderr
    for path in sorted(tmp_path.glob("outputs/cells/*/result.json"), key=lambda path: path.stat().st_mtime):
        if (result := json.loads(path.read_text()))["axes"]["method"] == "wanda":
            hashes.append(result["weights_sha256"])
    assert len(set(hashes)) == 3
    kept = [path.read_text() for path in tmp_path.glob("outputs/cells/*/config.yaml")]
    assert sum("class: EndsConfig" in text and "distribution: prune-capitals" in text for text in kept) == 2
    assert "attention, ends" in run(tmp_path, environment, "--help").stdout


def test_a_kind_that_nobody_offers_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, {}, "eval.scores=[letters/gsm8k]", "launcher=plan")
    assert done.returncode == 2 and "eval.scores=letters/gsm8k: allowed: none" in done.stderr, done.stderr


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
    assert "alternate, dense" in done.stdout and "capitals, cnn_dailymail" in done.stdout, done.stdout
    assert "launcher:   backwards, local" in done.stdout


def test_a_broken_extension_is_told(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "prune_capitals").mkdir()
    (tmp_path / "prune_capitals/__init__.py").write_text("raise ImportError('half installed')\n")
    hidden = environment | {"PYTHONPATH": os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])}
    done = run(tmp_path, hidden, "launcher=plan")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "prune-capitals offers" in done.stderr and "pip uninstall prune-capitals" in done.stderr


def plan(folder: Path, environment: dict[str, str], *overrides: str) -> dict[str, str]:
    """Method -> cell of a line that is only planned."""
    done = run(folder, environment, "-m", *LINE, "method=alternate,wanda,magnitude", *overrides, "launcher=plan")
    assert done.returncode == 0, done.stderr
    (grid,) = folder.glob("outputs/sweeps/*/grid.jsonl")
    rows = [json.loads(line) for line in grid.read_text().splitlines()]
    return {row["name"].split("/")[-2 if row["name"].endswith("%") else -3]: row["cell"] for row in rows}


def test_an_edit_of_its_code_is_another_cell(tmp_path: Path) -> None:
    environment = install(tmp_path / "site")
    before = plan(tmp_path, environment)
    assert len(before) == 3
    assert plan(tmp_path, environment) == before
    for module, changed in (("alternate", {"alternate"}), ("capitals", {"wanda"})):
        path = tmp_path / "site/prune_capitals" / f"{module}.py"
        path.write_text(path.read_text() + "\n# edited in place\n")
        after = plan(tmp_path, environment)
        assert {method for method in before if before[method] != after[method]} == changed, module
        before = after


def test_without_it_its_options_are_unknown(tmp_path: Path) -> None:
    done = run(tmp_path, {}, "method=alternate", "launcher=plan")
    assert done.returncode == 2 and "method=alternate does not exist" in done.stderr
