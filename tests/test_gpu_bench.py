"""The engine where nothing is installed but torch, transformers and triton, as on a GPU machine that bench/gpu.py visits."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import torch

from bench import gpu
from bench.ceilings import Ceilings
from bench.floors import STAGES_OF, block_floors, whole_floor
from bench.gpu import PARTS
from bench.offload import count_bytes, device_bytes, peak_bytes
from bench.real import SETS
from bench.shapes import SHAPES, WIDE
from prune.data.registry import find_dataset
from prune.data.sources.sample import sample_rows
from prune.tiny import FOLDER
from tests.conftest import HANGS_S

ROOT = Path(__file__).resolve().parents[1]
THERE = ("torch", "transformers", "triton")
ENGINE = (
    *("pruning.layerwise", "pruning.hidden_states", "pruning.replay", "models.offload", "pruning.registry", "models.load"),
    *("pruning.sparsity", "pruning.targets", "pruning.owl", "pruning.allocation", "models.host_memory", "errors"),
)
HIDING = """
import sys
from importlib.machinery import PathFinder

hidden, find = set(sys.argv.pop(1).split(",")), PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] in hidden else find(name, *rest)
"""


def needed(names: tuple[str, ...]) -> set[str]:
    """The distributions that come with some, by their normalised names."""
    found: set[str] = set()
    waiting = [*names]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        try:
            wanted = requires(name) or []
        except PackageNotFoundError:
            continue
        waiting += [re.split(r"[^\w.-]", one)[0] for one in wanted if "extra ==" not in one]
    return found


def hidden_packages() -> list[str]:
    """Top-level packages of all that is installed here beside that."""
    there = needed(THERE)
    owners = {
        module: {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners}
        for module, owners in packages_distributions().items()
    }
    return [module for module, owner in owners.items() if owner.isdisjoint(there) and not (ROOT / module).exists()]


def run(code: str, *arguments: str) -> str:
    line = [sys.executable, "-c", HIDING + code, ",".join(hidden_packages()), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_packages_are_hidden() -> None:
    hidden = hidden_packages()
    assert {"hydra", "omegaconf", "wandb", "datasets", "lm_eval", "accelerate", "submitit", "pytest"} <= set(hidden)
    assert {"torch", "transformers", "numpy", "yaml", "safetensors"}.isdisjoint(hidden)
    with pytest.raises(AssertionError, match="No module named 'omegaconf'"):
        run("import omegaconf")


def test_the_engine_is_imported() -> None:
    assert run(f"import {', '.join(f'prune.{name}' for name in ENGINE)}; print('imported')") == "imported\n"


@pytest.mark.slow
def test_the_bench_runs_and_invents_nothing(tmp_path: Path) -> None:
    """Every part but the kernel's; without a GPU neither its memory nor the kernel is measured."""
    out = tmp_path / "gpu.json"
    small = "--device cpu --shape small --samples 4 --length 64 --dtype float32 --blocks 2 --plain-blocks 1"
    said = run("import runpy; runpy.run_module('bench.gpu', run_name='__main__')", *small.split(), "--out", str(out))
    report = json.loads(out.read_text())
    assert "dense forward" in said and "not measured" in said
    assert report["kernel"] == "not measured" and report["device"].startswith("cpu") and report["num_blocks"] == 2
    for part, pattern in (("pruning", "50%"), ("n_of_m", "2:4")):
        lines = {(line["side"], line["method"], line["pattern"]): line for line in report[part]}
        assert list(lines) == [("dense forward", "", ""), *(("ours", method, pattern) for method in ("wanda", "sparsegpt"))]
        assert all(line["seconds"] > 0 and line["peak_mib"] == "not measured" for line in lines.values())
        assert not any("target_s" in line for line in lines.values()), "targets are for Llama 2 7B's shapes"
        dense, *ours = lines.values()
        assert [line["units"] for line in ours] == [
            pytest.approx(line["seconds"] / dense["seconds"] / 2, rel=0.05, abs=0.01) for line in ours
        ]
    assert [line["num_blocks"] for line in report["plain"]] == [1] * 4
    for line in report["plain"]:
        assert line["plain"]["scaled_s"] == pytest.approx(2 * line["plain"]["seconds"], abs=0.01)
    stages = report["stages"]
    assert {"sparsegpt: factorisation", "wanda: masks 2:4"} <= stages["one_block_s"].keys() == stages["floor_s"].keys()
    assert min(report["ceilings"].values()) > 0 and list(report)[-8:] == list(PARTS), "ceilings come first"
    assert {line["of"] for line in report["choosing"]} >= {"each row", "a matrix"}
    assert report["offload"]["offloaded"]["peak_of_blocks_mib"] == pytest.approx(block_mib(256, 896, 8, 2), abs=0.05)


def test_nothing_begins_when_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "gpu.json"
    line = "gpu --device cpu --shape small --samples 4 --length 64 --seconds 0 --out"
    monkeypatch.setattr(sys, "argv", [*line.split(), str(out)])
    gpu.main()
    report = json.loads(out.read_text())
    assert {report[part] for part in PARTS} == {"not measured"}


def test_floors_of_llama_2_7b_on_an_h100_by_hand() -> None:
    """At 700 TFLOP/s in bfloat16, 50 in float32, 60 in float64, and 3 TB/s."""
    ceilings = Ceilings(700e12, 50e12, 60e12, 3e12)
    floors = block_floors(SHAPES["llama2_7b"], 128, 2048, 2, ceilings)
    weights, tokens = 4 * 4096**2 + 3 * 4096 * 11008, 128 * 2048
    assert sum(outputs * inputs for outputs, inputs in SHAPES["llama2_7b"].linears) == weights
    products = 2 * tokens * weights + 2 * tokens * 2048 * 4096
    assert floors["forward to the next block"] == pytest.approx(products / 700e12)
    assert floors["sparsegpt: statistics"] == pytest.approx(tokens * (3 * 4096**2 + 11008**2) / 700e12)
    assert floors["sparsegpt: factorisation"] == pytest.approx((3 * 4096**3 + 11008**3) / 3 / 60e12)
    sweep = 2 * ((4 * 4096 + 2 * 11008) * 4096**2 + 4096 * 11008**2) / 50e12
    assert floors["sparsegpt: sweep"] == pytest.approx(sweep)
    assert {stage for stages in STAGES_OF.values() for stage in stages} == floors.keys()
    assert [whole_floor(method, floors, 32) for method in STAGES_OF] == pytest.approx([9.16, 12.81], abs=0.01)


def test_a_real_model_is_pruned_and_scored_beside_lm_eval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded model stands for it, and sample rows for real ones; without lm-eval the rest is measured."""
    for name, split in (
        ("c4", "train"),
        ("wikitext2", "test"),
        *((name, each) for name in SETS for each in ("train", "test")),
    ):
        dataset = find_dataset(name)
        place = {"train": dataset.train_split, "test": dataset.eval_split}[split]
        path = tmp_path / name / f"{place}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in sample_rows(name, place)[:300]))
    out = tmp_path / "gpu-real.json"
    words = (
        f"gpu --model {FOLDER} --data {tmp_path} --device cpu --dtype float32 --samples 2 --length 64 --items 2 --out {out}"
    )
    monkeypatch.setattr(sys, "argv", words.split())
    monkeypatch.setattr("bench.real.SETS", ("svamp",))
    gpu.main()
    report = json.loads(out.read_text())
    assert {"ours_tokens_per_s", "hflm_tokens_per_s", "ratio"} <= report["perplexity"].keys()
    answers = report["answers svamp"]["acc"]
    assert answers["ours_tokens_per_s"] > 0 and answers["hflm_tokens_per_s"] > 0 and answers["differing"] == 0
    assert report["prune wanda"]["tokens_per_s"] > 0 and report["prune sparsegpt"]["units"] > 0
    monkeypatch.setitem(sys.modules, "bench.eval", None)
    monkeypatch.setattr("bench.real.METHODS", {})
    gpu.main()
    report = json.loads(out.read_text())
    assert report["answers svamp"]["hflm"].startswith("not measured") and report["perplexity"]["ours_tokens_per_s"] > 0


def test_the_arithmetic_of_offloading_is_what_is_counted() -> None:
    """One block's weights and statistics at a time; and 80 GB are plenty for Llama 2 70B."""
    shape, tokens_NL = WIDE["small"], torch.randint(512, (4, 64), generator=torch.Generator().manual_seed(0))
    counted = count_bytes(shape, torch.bfloat16, tokens_NL)
    expected = device_bytes(shape, torch.bfloat16, tokens_NL.numel())
    assert counted["counted: blocks"] == expected["one block"]
    assert counted["counted: all"] == pytest.approx(peak_bytes(expected), rel=0.01)
    of_70b = device_bytes(SHAPES["llama2_70b"], torch.bfloat16, 8 * 2048)
    assert of_70b["one block"] == (2 * 8192**2 + 2 * 1024 * 8192 + 3 * 8192 * 28672 + 2 * 8192) * 2
    assert of_70b["Hessians of its four inputs (float32)"] == 4 * (3 * 8192**2 + 28672**2)
    assert peak_bytes(of_70b) < 30e9


def block_mib(hidden: int, intermediate: int, num_heads: int, num_key_value_heads: int) -> float:
    """Of a Llama's block in float32: q and o, k and v, gate, up and down, two norms."""
    narrow = hidden * num_key_value_heads // num_heads
    return (hidden * (2 * hidden + 2 * narrow + 3 * intermediate) + 2 * hidden) * 4 / 2**20
