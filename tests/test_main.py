"""The main job through the real command line on the embedded model: what it leaves, what it says, what it does twice."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HANGS_S
from tests.warm import run_warm

SMALL = ["calib.num_samples=8", "eval.limit=6", "eval.num_chunks=3"]
GRID = ["-m", "calib=gsm8k,c4,pile", "prompt=icl,cot", *SMALL]
METRICS = {
    *("ppl/wikitext2", "ppl/c4"),
    *("acc/gsm8k", "acc/svamp", "acc/commonsense_qa", "acc/esnli", "acc/winogrande"),
}


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_warm("prune.main", arguments, cwd, clean_environment(environment), HANGS_S)


def clean_environment(more: dict[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "SLURM_"))}
    return kept | {"COLUMNS": "160"} | more


@dataclass(frozen=True)
class Finished:
    """A small grid that ran to its end."""

    folder: Path
    said: str

    @property
    def cells(self) -> dict[str, dict[str, Any]]:
        """Cell name -> result.json."""
        results = [json.loads(path.read_text()) for path in (self.folder / "outputs/cells").glob("*/result.json")]
        return {result["name"]: result for result in results}

    def cell_folder(self, name: str) -> Path:
        """The folder of a cell, by its name."""
        return self.folder / "outputs/cells" / str(self.cells[name]["cell"])


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("grid")
    done = run(*GRID, cwd=folder)
    assert done.returncode == 0, done.stderr
    return Finished(folder, done.stdout)


def test_six_points_are_four_pruned_cells_and_dense(grid: Finished) -> None:
    assert set(grid.cells) == {
        "tiny/dense",
        "tiny/gsm8k-icl/wanda/50%/s0",
        "tiny/gsm8k-cot/wanda/50%/s0",
        "tiny/c4/wanda/50%/s0",
        "tiny/pile/wanda/50%/s0",
    }
    (sweep,) = (grid.folder / "outputs/sweeps").iterdir()
    rows = [json.loads(line) for line in (sweep / "grid.jsonl").read_text().splitlines()]
    assert len(rows) == 6 and len({row["cell"] for row in rows}) == 4


def test_a_result_has_what_the_contract_says(grid: Finished) -> None:
    result = grid.cells["tiny/gsm8k-icl/wanda/50%/s0"]
    assert result["schema"] == 2
    assert result["axes"] == {
        **{"model": "tiny", "calib": "gsm8k", "prompt": "icl"},
        **{
            "method": "wanda",
            "sparsity": "50%",
            "seed": 0,
            "select": None,
            "weight": None,
            "draw": None,
            "reconstruct": None,
        },
    }
    assert result["dense_cell"] == grid.cells["tiny/dense"]["cell"]
    assert set(result["metrics"]) == METRICS
    for metric in result["metrics"].values():
        assert {"value", "stderr", "num_items", "higher_is_better", "chance", "protocol"} <= set(metric)
    assert result["sparsity"]["asked"] == result["sparsity"]["reached"] == 0.5
    assert result["propagation"] == "pruned" and grid.cells["tiny/dense"]["propagation"] is None
    assert result["calib"]["num_tokens"] == result["calib"]["num_real_tokens"] == 8 * 256
    assert set(result["seconds"]) == {"load", "calib", "prune", "eval", "total"}
    assert set(result["peak_memory_mb"]) == {"host", "device", "host_by"} and result["peak_memory_mb"]["host"] > 50
    assert set(result["provenance"]) == {
        *("git", "dirty", "submitted", "versions", "device", "num_threads", "gpu", "host", "job_id", "started", "finished")
    }
    assert any("not research data" in warning for warning in result["warnings"])
    assert set(result["overlap"]) == METRICS
    assert result["overlap"]["acc/gsm8k"]["num_items"] == 6 and result["overlap"]["acc/gsm8k"]["num_exemplars"] == 3


def test_a_dense_cell_has_no_calibration_and_nothing_removed(grid: Finished) -> None:
    result = grid.cells["tiny/dense"]
    assert result["calib"] is None and result["sparsity"]["asked"] == result["sparsity"]["reached"] == 0
    assert result["axes"]["seed"] is None
    assert not (grid.cell_folder("tiny/dense") / "blocks.jsonl").exists()


def test_a_cell_leaves_its_files(grid: Finished) -> None:
    folder = grid.cell_folder("tiny/gsm8k-icl/wanda/50%/s0")
    names = {path.name for path in folder.iterdir()}
    assert {"config.yaml", "status.json", "result.json", "blocks.jsonl", "items", "run.log"} <= names
    assert json.loads((folder / "status.json").read_text())["state"] == "done"
    lines = [json.loads(line) for line in (folder / "blocks.jsonl").read_text().splitlines()]
    assert {"name", "shape", "sparsity", "error", "seconds"} <= set(lines[0])
    assert len(lines) % 7 == 0 and all(line["sparsity"] == 0.5 for line in lines)
    items = gzip.decompress((folder / "items/acc-gsm8k.jsonl.gz").read_bytes()).decode().splitlines()
    assert len(items) == 6 and {"id", "prediction", "gold", "correct"} <= set(json.loads(items[0]))
    assert "metrics" not in (folder / "run.log").read_text() and "ppl/wikitext2" in (folder / "run.log").read_text()


def test_no_half_files_are_left(grid: Finished) -> None:
    hidden = [path for path in (grid.folder / "outputs").rglob(".*") if not path.name.startswith(".claim-")]
    assert hidden == []


def test_calibration_sets_are_stored_once(grid: Finished) -> None:
    folders = list((grid.folder / "outputs/calib").iterdir())
    assert len(folders) == 4
    for folder in folders:
        beside = {path.name for path in folder.iterdir()} - {"tokens.safetensors", "manifest.json"}
        (perplexity,) = beside
        assert perplexity.startswith("dense-") and json.loads((folder / perplexity).read_text())["perplexity"] > 1
    manifest = json.loads((folders[0] / "manifest.json").read_text())
    assert manifest["data"]["research_data"] is False


def test_the_table_has_a_row_per_grid_point(grid: Finished) -> None:
    rows = [line for line in grid.said.splitlines() if line.startswith("│")]
    labels = [tuple(part.strip() for part in row.split("│")[1:3]) for row in rows]
    expected = [("dense", ""), ("gsm8k", "icl"), ("gsm8k", "cot"), ("c4", "(icl)"), ("c4", "(cot)"), ("pile", "(icl)")]
    assert [label for label in labels if label[0]][:6] == expected
    assert "6 grid points, 4 distinct pruned cells" in grid.said
    assert "not research data" in grid.said
    assert max(map(len, rows)) <= 120


def test_the_numbers_differ_between_calibration_sets(grid: Finished) -> None:
    values = [result["metrics"]["ppl/wikitext2"]["value"] for result in grid.cells.values()]
    assert len(set(values)) == 5
    assert min(values) == grid.cells["tiny/dense"]["metrics"]["ppl/wikitext2"]["value"]


def test_each_cell_is_one_offline_run(grid: Finished) -> None:
    folders = list((grid.folder / "outputs/wandb").glob("offline-run-*"))
    assert len(folders) == 5
    assert "wandb sync" in grid.said


def test_the_second_run_does_nothing_and_needs_no_torch(grid: Finished) -> None:
    before = {path: path.stat().st_mtime_ns for path in (grid.folder / "outputs/cells").rglob("*") if path.is_file()}
    program = "import sys; from prune.main import main; main(); sys.exit('torch._C' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, *GRID],
        cwd=grid.folder, capture_output=True, text=True, timeout=HANGS_S, env=clean_environment({}), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = grid.said[grid.said.index("tiny  wanda") : grid.said.index("Results: ")]
    assert table in done.stdout
    assert "5 of 5 cells are finished already" in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_another_metric_is_added_without_measuring_the_others(grid: Finished) -> None:
    folder = grid.cell_folder("tiny/c4/wanda/50%/s0")
    before = {path: path.stat().st_mtime_ns for path in (folder / "scores").iterdir()}
    sha256 = grid.cells["tiny/c4/wanda/50%/s0"]["weights_sha256"]
    done = run("calib=c4", *SMALL, "eval.tasks=[mawps]", cwd=grid.folder)
    assert done.returncode == 0, done.stderr
    result = grid.cells["tiny/c4/wanda/50%/s0"]
    assert set(result["metrics"]) == METRICS | {"acc/mawps"}
    assert result["weights_sha256"] == sha256
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_not_applicable_points_are_listed_and_the_rest_runs(grid: Finished) -> None:
    done = run("-m", "calib=boolq,gsm8k", "prompt=cot", *SMALL, cwd=grid.folder)
    assert done.returncode == 0, done.stderr
    assert "not applicable: calib=boolq prompt=cot" in done.stdout and "rationales" in done.stdout
    assert "n/a" in done.stdout


def test_help_lists_groups_and_keys(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0 and list(tmp_path.iterdir()) == []
    assert "sparsity:   2to4, 4to8, blocks, experts, nm, unstructured" in done.stdout and "num_samples: 128" in done.stdout
    assert "schema" not in done.stdout and "null unless a line or an option sets them" in done.stdout
    assert "damping: 0.01" in run("--help", "method=sparsegpt", cwd=tmp_path).stdout


def test_the_configuration_says_where_its_nulls_come_from(tmp_path: Path) -> None:
    done = run("--cfg", "job", "model.seq_len=64", "eval.bos=text", cwd=tmp_path)
    assert done.returncode == 0 and list(tmp_path.iterdir()) == []
    assert "  seq_len: 64\n" in done.stdout and "  seq_len: null\n" in done.stdout and "  bos: text\n" in done.stdout
    assert "calib.seq_len, eval.seq_len, eval.bos are null unless" in done.stderr


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """A run in the background that hears Ctrl-C, also where the tests themselves were started deaf to it."""
    line = [sys.executable, "-m", "prune.main", *arguments]
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            line, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment({})
        )
    finally:
        signal.signal(signal.SIGINT, heard)


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[str], seconds: float = HANGS_S) -> list[Path]:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if found := sorted(folder.glob(pattern)):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{pattern} did not appear: {process.communicate()}")


def test_a_killed_run_goes_on_where_it_was(grid: Finished, tmp_path: Path) -> None:
    line = ["calib=gsm8k", *SMALL, "tracker=none"]
    process = start(*line, cwd=tmp_path)
    wait_for(tmp_path, "outputs/cells/*/scores/acc-gsm8k-*.json", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("outputs/cells/*/scores/*.json")}
    assert kept and not list(tmp_path.glob("outputs/cells/*/result.json"))
    done = run(*line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    again = Finished(tmp_path, done.stdout).cells
    for name, result in again.items():
        for metric in METRICS:
            assert result["metrics"][metric]["value"] == grid.cells[name]["metrics"][metric]["value"]
        assert result["weights_sha256"] == grid.cells[name]["weights_sha256"]


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = start("-m", "calib=gsm8k,c4", *SMALL, "tracker=none", cwd=tmp_path)
    wait_for(tmp_path, "outputs/cells/*/result.json", process)
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=HANGS_S)
    assert process.returncode == 130
    assert "Traceback" not in complaint and "run the same line again to go on" in complaint
    assert len(list(tmp_path.glob("outputs/cells/*/result.json"))) >= 1
    assert "dense" in said


def test_a_failed_cell_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    root = tmp_path / "rows"
    for name, row, count in (
        ("gsm8k", {"question": "How many apples are there?", "answer": "2 + 2 = 4\n#### 4"}, 50),
        ("c4", {"text": "too short"}, 50),
    ):
        (root / name).mkdir(parents=True)
        (root / name / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for _ in range(count)))
    done = run(
        *("-m", "calib=c4,gsm8k", "data=local", f"data.root={root}", "calib.num_samples=2", "calib.seq_len=64"),
        *("eval.tasks=[]", "eval.perplexity=[]", "tracker=none"),
        cwd=tmp_path,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "tiny/c4/wanda/50%/s0 failed" in done.stderr and "calib.seq_len=64" in done.stderr
    assert "run.log" in done.stderr
    states = {
        json.loads((path.parent / "status.json").read_text())["state"]
        for path in tmp_path.glob("outputs/cells/*/result.json")
    }
    assert states == {"done"} and len(list(tmp_path.glob("outputs/cells/*/result.json"))) == 2
    (failed,) = [
        path.parent
        for path in tmp_path.glob("outputs/cells/*/status.json")
        if json.loads(path.read_text())["state"] == "failed"
    ]
    assert "Traceback" in (failed / "run.log").read_text() and not (failed / "result.json").exists()


def test_a_disk_that_is_full_in_the_middle(small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "taken").write_bytes(b"x" * 225_000)
    line = ["method=magnitude", "eval.tasks=[]", "eval.num_chunks=2", "tracker=none", f"output_dir={small_disk}/outputs"]
    done = run(*line, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "disk is full" in done.stderr and "Traceback" not in done.stderr and "Logging error" not in done.stderr
    assert not [path for path in small_disk.rglob(".*") if not path.name.startswith(".claim-")]
    (small_disk / "taken").unlink()
    done = run(*line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(small_disk.glob("outputs/cells/*/result.json"))) == 2


def test_an_input_size_that_m_does_not_divide(tmp_path: Path) -> None:
    done = run("sparsity=nm", "sparsity.n=3", "sparsity.m=7", *SMALL, "eval.tasks=[]", "tracker=none", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "3:7" in done.stderr
    assert not list(tmp_path.glob("outputs/cells/*/blocks.jsonl"))


@pytest.mark.slow
def test_the_line_works_from_a_wheel_in_any_folder(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(root)]
    subprocess.run(build, check=True, capture_output=True, timeout=HANGS_S)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.name.startswith("prune_calib-")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    program = (
        "import prune, runpy, sys; assert 'site' in prune.__file__; runpy.run_module('prune.main', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "-m", "method=magnitude", *SMALL, "eval.tasks=[]", "eval.perplexity=[wikitext2]"],
        cwd=tmp_path / "elsewhere", capture_output=True, text=True, timeout=HANGS_S, check=False,
        env=clean_environment({"PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tiny  magnitude" in done.stdout and "ppl" in done.stdout
    assert (tmp_path / "elsewhere/outputs/cells").is_dir()
