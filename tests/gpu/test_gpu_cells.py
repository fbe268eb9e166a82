"""Cells, workers and whole lines on the device: what they leave in files and on the card, also when they are stopped."""

import io
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from prune.cell import gpu as samples
from prune.cell.cell import Cell, make_cell
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.cell.state import read_status
from prune.errors import OutOfMemoryError
from prune.models.blocks import weights_sha256
from prune.sweep.launchers.local.config import LocalLauncherConfig
from prune.sweep.launchers.local.workers import run_in_workers
from prune.sweep.recorder import Outcome, Recorder
from prune.track.tracker import NullTracker
from tests.conftest import Compose, Said
from tests.gpu.conftest import MIB, free_all
from tests.sweep.test_workers import lives, signal_worker, start, wait_for, wait_for_worker

pytestmark = pytest.mark.gpu

SMALL = ("calib=c4", "calib.num_samples=4", "calib.seq_len=64", "eval.perplexity=[wikitext2]", "eval.num_chunks=2")
SMALL += ("eval.tasks=[]", "tracker=none", "save=none")
LINE = """
import sys
from prune.main import main
sys.argv[1:] = sys.argv[1].split("\\n")
main()
"""


class Watcher:
    """Calls something when a stage begins."""

    def __init__(self, on_stage: Callable[[str], None] = lambda name: None) -> None:
        self.stage = on_stage

    def advance(self, done: int, total: int) -> None:
        pass


Line = Callable[..., Cell]


@pytest.fixture
def line(compose_config: Compose, tmp_path: Path, device: torch.device) -> Line:
    def cell(*overrides: str) -> Cell:
        last = {word.partition("=")[0]: word for word in (*SMALL, f"output_dir={tmp_path}/outputs", *overrides)}
        return make_cell(compose_config(*last.values(), f"device={device.type}"))

    return cell


@pytest.fixture(scope="module")
def resources() -> Resources:
    """One, so that the model is loaded once."""
    return Resources()


def test_each_cell_begins_with_the_dense_weights(line: Line, resources: Resources) -> None:
    """Catches a cell that prunes what the one before it left: the copy that restores comes from the host, bit for bit."""
    dense = run_cell(line("method=dense"), resources, Watcher())
    pruned = run_cell(line("method=sparsegpt"), resources, Watcher())
    cell = line("method=dense")
    model = resources.dense_model(cell.config.model, cell.config.device.value).model
    assert weights_sha256(model) == dense["weights_sha256"] != pruned["weights_sha256"]
    again = run_cell(line("method=sparsegpt", f"output_dir={cell.output_dir}/again"), Resources(), Watcher())
    assert again["weights_sha256"] == pruned["weights_sha256"] and again["metrics"] == pruned["metrics"]


@pytest.mark.parametrize(
    "overrides",
    [
        ("method=wanda", "model.offload=true"),
        ("method=sparsegpt", "model.offload=true"),
        ("method=wanda", "model.device_map=auto"),
    ],
    ids=" ".join,
)
def test_where_the_weights_lie_changes_no_bit(
    overrides: tuple[str, str], line: Line, resources: Resources, device: torch.device
) -> None:
    """Catches offload, or transformers' own placement, that changes a cell: its id is the same, so must it be."""
    if device.type == "cpu" and "model.device_map=auto" in overrides:
        pytest.skip("model.device_map is for GPUs")
    plain = run_cell(line(overrides[0]), resources, Watcher())
    placed = line(*overrides, f"output_dir={line().output_dir}/placed")
    assert run_cell(placed, Resources(), Watcher())["weights_sha256"] == plain["weights_sha256"]


def test_merged_cells_average_on_the_device(line: Line, resources: Resources) -> None:
    """Catches weights that come from files of one parent, on the host, beside those that a mask makes on the device."""
    parents = [line("save=mask"), line("calib=gsm8k", "save=model")]
    for parent in parents:
        run_cell(parent, resources, Watcher())
    merged = line(f"merge.cells=[{','.join(parent.id for parent in parents)}]")
    result = run_cell(merged, resources, Watcher())
    assert result["sparsity"]["reached"] == pytest.approx(0.5, abs=0.01)


def test_a_refit_and_dropped_blocks_leave_results(line: Line, resources: Resources) -> None:
    """Catches cells of these kinds that end on the device with an error, after their parts passed."""
    refit = run_cell(line("reconstruct=block", "reconstruct.rate=1e-4"), resources, Watcher())
    blocks = run_cell(line("sparsity=blocks", "sparsity.num=1"), resources, Watcher())
    assert refit["reconstruct"] and len(blocks["dropped"]["blocks"]) == 1
    assert all(result["metrics"]["ppl/wikitext2"]["value"] > 1 for result in (refit, blocks))


def test_the_peak_of_memory_is_the_cells_own(line: Line, resources: Resources, device: torch.device) -> None:
    """Catches a peak that an earlier, larger cell of the same process reached."""
    size = ("calib.num_samples=64", "calib.seq_len=512", "batch_size=64") if device.type == "cuda" else ()
    large = run_cell(line("method=ria", *size), resources, Watcher())
    small = run_cell(line("calib.num_samples=2"), resources, Watcher())
    peaks = [result["peak_memory_mb"]["device"] for result in (large, small)]
    if device.type == "cpu":
        assert peaks == [0, 0]
    else:
        assert peaks[0] > peaks[1] + 20 > 20


def test_pruning_out_of_memory_names_the_batch_size(
    line: Line, resources: Resources, gpu: torch.device, limit_memory: Callable[[int], None]
) -> None:
    """Catches a batch that is halved in pruning, where it is part of what was run, and an error that says no way out."""
    cell = line("calib.num_samples=64", "calib.seq_len=512", "batch_size=64")
    watcher = Watcher(lambda name: limit_memory(8) if name == "prune" else None)
    with pytest.raises(OutOfMemoryError, match=r"pruning needs more memory .*Lower batch_size \(64 here\)"):
        run_cell(cell, resources, watcher)
    assert (read_status(cell.folder()) or {})["state"] == "failed"


def test_samples_of_the_gpu_are_in_the_run(
    line: Line, resources: Resources, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an nvidia-smi that is asked for the wrong card, or whose words are not understood."""
    monkeypatch.setattr(samples, "PERIOD_S", 0.05)
    cell = line("method=sparsegpt", "calib.num_samples=16")
    run_cell(cell, resources, Watcher(lambda name: threading.Event().wait(0.5)))
    found = samples.read_samples(cell.folder())
    if device.type == "cpu":
        assert not found
    else:
        assert found and {samples.SECONDS, *samples.MEASURED} <= found[-1].keys()
        assert found[-1]["gpu/memory_mb"] > 0 and "samples" not in (cell.folder() / "run.log").read_text()


# --- other processes ---


def held_mib(device: torch.device) -> float:
    """What all processes hold of the card, this one's free memory left out; 0 on the CPU."""
    if device.type == "cpu":
        return 0.0
    free_all()
    free, total = torch.cuda.mem_get_info()
    return (total - free) / MIB


@pytest.fixture
def nothing_left(device: torch.device) -> Iterator[None]:
    """At the end the card holds what it held before: what processes leave behind shows here."""
    before = held_mib(device)
    yield
    wait_for(lambda: held_mib(device) < before + 64, "the card's memory")


@pytest.mark.usefixtures("nothing_left")
def test_ctrl_c_frees_the_card(line: Line, device: torch.device) -> None:
    """Catches a line that goes on, hangs, or leaves a process on the card when it is stopped at work."""
    cell, before = line("method=sparsegpt", "calib.num_samples=256", "calib.seq_len=512"), held_mib(device)
    words = [f"device={device.type}", *(word for word in SMALL if "num_samples" not in word and "seq_len" not in word)]
    words += ["method=sparsegpt", "calib.num_samples=256", "calib.seq_len=512", f"output_dir={cell.output_dir}"]
    process = start(LINE, "\n".join(words))
    try:
        wait_for(lambda: any(cell.output_dir.glob("calib/*/tokens.safetensors")), "a calibration set")
        if device.type == "cuda":
            wait_for(lambda: held_mib(device) > before + 64, "a process on the card")
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode != 0
    assert (read_status(cell.folder()) or {})["error"] == "interrupted"


@pytest.mark.usefixtures("nothing_left")
def test_a_worker_that_dies_costs_one_cell_and_no_memory(line: Line, gpus: list[int]) -> None:
    """Catches `launcher.gpus=[0]` whose worker sees no card, and a card that a dead worker keeps from the next one."""
    killed, other = line("method=sparsegpt", "calib.num_samples=64"), line("method=wanda")
    killer = threading.Thread(target=signal_worker, args=(killed, signal.SIGKILL))
    killer.start()
    outcome = Outcome()
    launcher = LocalLauncherConfig(gpus=gpus) if gpus else LocalLauncherConfig(num_workers=1)
    recorder = Recorder("test", outcome, NullTracker())
    run_in_workers([killed, other], launcher, recorder, Console(file=io.StringIO(), width=200))
    killer.join()
    assert outcome.failures[killed.id].state == "killed by signal 9"
    assert not lives(wait_for_worker(killed)), "its status still says running"
    place = outcome.results[other.id]["provenance"]
    assert place["device"].startswith("cuda" if gpus else "cpu") and bool(place["gpu"]) == bool(gpus)


def test_the_demo_line_whole(say: Callable[..., Said], device: torch.device, tmp_path: Path) -> None:
    """Catches whatever the parts leave: sets, cells, scores, table and page of the demo, against those of the CPU.

    Float32 on both. A mask may differ where scores are equal up to rounding: perplexities within 0.5 %, and of 10
    answers at most 3 that are right on one side only.
    """
    found: dict[str, dict[str, Any]] = {}
    words = ("-m", "calib=gsm8k,c4,pile", "prompt=icl,cot", "tracker=none", "eval.limit=10", "eval.num_chunks=6")
    for place in dict.fromkeys((device.type, "cpu")):
        said = say(*words, f"device={place}", f"output_dir={tmp_path}/{place}")
        assert said.code == 0 and "c4" in said.out, said.err
        assert list((tmp_path / place).rglob("*.html")), "the page"
        found[place] = {
            result["name"]: result["metrics"]
            for path in (tmp_path / place / "cells").glob("*/result.json")
            for result in [json.loads(path.read_text())]
        }
    ours, right = found[device.type], found["cpu"]
    assert ours.keys() == right.keys() and len(ours) == 5  # the dense model, two prompts of gsm8k, c4 and pile
    for name, metrics in ours.items():
        for key, metric in metrics.items():
            tolerance = {"rel": 5e-3} if metric["scale"] == "log" else {"abs": 3 / metric["num_items"] + 1e-9}
            assert metric["value"] == pytest.approx(right[name][key]["value"], **tolerance), (name, key)
