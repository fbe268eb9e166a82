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

from bench.offload import count_bytes, device_bytes, peak_bytes
from bench.shapes import SHAPES, WIDE
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


def test_the_bench_runs_and_invents_nothing(tmp_path: Path) -> None:
    """Every part but the kernel's; without a GPU neither its memory nor the kernel is measured."""
    out = tmp_path / "gpu.json"
    small = "--device cpu --shape small --samples 4 --length 64 --dtype float32 --blocks 2 --plain-blocks 1"
    said = run("import runpy; runpy.run_module('bench.gpu', run_name='__main__')", *small.split(), "--out", str(out))
    report = json.loads(out.read_text())
    assert "dense forward" in said and "not measured" in said
    assert report["kernel"] == "not measured" and report["device"].startswith("cpu") and report["num_blocks"] == 2
    lines = {(line["side"], line["method"], line["pattern"]): line for line in report["pruning"]}
    cases = [("ours", method, pattern) for method in ("wanda", "sparsegpt") for pattern in ("50%", "2:4")]
    assert list(lines) == [("dense forward", "", ""), *cases]
    assert all(line["seconds"] > 0 and line["peak_mib"] == "not measured" for line in lines.values())
    assert not any("target_s" in line for line in lines.values()), "targets are for Llama 2 7B's shapes"
    assert [line["num_blocks"] for line in report["plain"]] == [1] * 4
    for line in report["plain"]:
        assert line["plain"]["scaled_s"] == pytest.approx(2 * line["plain"]["seconds"], abs=0.01)
    assert {"sparsegpt: factorisation", "wanda: masks 2:4"} <= report["stages"]["one_block_s"].keys()
    assert report["offload"]["offloaded"]["peak_of_blocks_mib"] == pytest.approx(block_mib(256, 896, 8, 2), abs=0.05)


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
