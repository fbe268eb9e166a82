"""What pruning costs on one GPU, for the shapes of Llama 2 7B. Needs torch, transformers and triton, and nothing else.

    python -m bench.gpu [--shape llama2_7b|small] [--samples 128] [--length 2048] [--dtype bfloat16] [--batch-size 8] \
        [--methods wanda,sparsegpt] [--blocks N] [--plain-blocks 2] [--device cuda] [--parts PART,...] [--out FILE]

Weights are random, made on the device without a download, and so are the tokens; loading is not counted. Parts:

    pruning   one dense forward over all blocks, and our walk, unstructured 50 % and 2:4, with the peak of allocated memory
    plain     ours and the published flow (bench/plain.py) on the first `--plain-blocks` blocks, and what all would take
    stages    one block: forward passes, statistics, factorisation, choosing the weights (bench/stages.py)
    kernel    the column sweep in Triton against the one in torch: how alike, how fast (bench/kernel.py)
    offload   model.offload on a wide and shallow stand-in (Llama 2 70B's shapes, 3 blocks): peak memory with it and without

The file (bench/results/gpu.json) is written after each part. Floors and targets are for unstructured sparsity of all 32
blocks, 128 x 2048 tokens and bfloat16 on one H100. `--device cpu --shape small --samples 4 --length 64` shows that all of
this runs; its numbers mean nothing.

Shapes: N samples, L tokens.
"""

import argparse
import gc
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from bench import plain
from bench.kernel import compare_sweeps
from bench.offload import device_bytes, peak_bytes
from bench.prune_once import forward
from bench.shapes import SHAPES, WIDE, Shape, make_model
from bench.stages import measure_stages
from bench.timing import METHODS, timed
from prune.calib.calibration_set import CalibrationSet
from prune.models.blocks import find_blocks
from prune.models.offload import Mover, offload_blocks
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.method import Method
from prune.pruning.sparsity import NM, Pattern, Unstructured

ROOT = Path(__file__).resolve().parents[1]
PATTERNS: dict[str, Pattern] = {"50%": Unstructured(0.5), "2:4": NM(2, 4)}
FLOORS_S = {"wanda": 12, "sparsegpt": 30}
TARGETS_S = {"wanda": 25, "sparsegpt": 60}
CASE = {"shape": "llama2_7b", "num_blocks": 32, "samples": 128, "length": 2048, "dtype": "bfloat16"}
"""What floors and targets are for."""
NOT_MEASURED = "not measured"
MIB = 2**20


def main() -> None:
    """Measure, print, and keep the numbers."""
    asked = parse()
    bench = Bench(asked)
    report = bench.describe() | dict.fromkeys(PARTS, NOT_MEASURED)
    for part in asked.parts.split(","):
        report[part] = PARTS[part](bench)
        print(part, json.dumps(report[part], indent=2), flush=True)
        asked.out.write_text(json.dumps(report, indent=2) + "\n")
    if report["pruning"] != NOT_MEASURED:
        print_table(report["pruning"])


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["llama2_7b", "small"], default=CASE["shape"])
    parser.add_argument("--samples", type=int, default=CASE["samples"])
    parser.add_argument("--length", type=int, default=CASE["length"])
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default=CASE["dtype"])
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--blocks", type=int, help="the first so many instead of all")
    parser.add_argument("--plain-blocks", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/gpu.json")
    asked = parser.parse_args()
    for option, allowed in (("parts", PARTS), ("methods", METHODS)):
        if unknown := set(getattr(asked, option).split(",")) - allowed.keys():
            parser.error(f"--{option}: {', '.join(sorted(unknown))}: there are {', '.join(allowed)}")
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU here; --device cpu --shape small only shows that everything runs")
    return asked


class Bench:
    """Measurements over random weights and tokens."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked = asked
        self._device = torch.device(asked.device)
        shape = SHAPES[asked.shape]
        self._shape = replace(shape, num_blocks=asked.blocks or shape.num_blocks)
        self._cases = [(method, name) for method in asked.methods.split(",") for name in PATTERNS]
        generator = torch.Generator().manual_seed(0)
        self._tokens_NL = torch.randint(shape.vocabulary, (asked.samples, asked.length), generator=generator)

    def describe(self) -> dict[str, Any]:
        """What is measured, on what."""
        is_gpu = self._device.type == "cuda"
        return {name: getattr(self._asked, name) for name in ("shape", "samples", "length", "dtype", "batch_size")} | {
            "num_blocks": self._shape.num_blocks,
            "device": torch.cuda.get_device_name() if is_gpu else f"cpu, {platform.machine()}",
            "cuda": torch.version.cuda,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "triton": triton_version(),
            "date": datetime.now(UTC).date().isoformat(),
        }

    def pruning(self) -> list[dict[str, Any]]:
        """A line for one dense forward, and one for each method and pattern."""
        dense = self._run(self._shape, lambda model: forward(model, self._tokens_NL, self._asked.batch_size))
        lines = [{"side": "dense forward", "method": "", "pattern": ""} | dense]
        for method, name in self._cases:
            measured = self._run(self._shape, partial(self._prune, METHODS[method], PATTERNS[name]))
            lines.append({"side": "ours", "method": method, "pattern": name} | measured | self._expected(method, name))
        return [line | {"forwards": round(line["seconds"] / dense["seconds"], 2)} for line in lines]

    def plain(self) -> list[dict[str, Any]]:
        """Ours and the published flow on the first blocks; `scaled_s` is what all blocks would take at that pace."""
        shape = replace(self._shape, num_blocks=min(self._asked.plain_blocks, self._shape.num_blocks))
        times = self._shape.num_blocks / shape.num_blocks
        lines = []
        for method, name in self._cases:
            sides = {"ours": partial(self._prune, METHODS[method], PATTERNS[name]), "plain": self._published(method, name)}
            measured = {side: self._run(shape, prune) for side, prune in sides.items()}
            for one in measured.values():
                one["scaled_s"] = round(one["seconds"] * times, 2)
            ratio = round(measured["plain"]["seconds"] / measured["ours"]["seconds"], 2)
            lines.append({"method": method, "pattern": name, "num_blocks": shape.num_blocks, "ratio": ratio} | measured)
        return lines

    def stages(self) -> dict[str, dict[str, float]]:
        """Seconds of a block, and times the number of blocks."""
        model = self._model(replace(self._shape, num_blocks=2))
        seconds = measure_stages(model, self._tokens_NL, PATTERNS, self._asked.batch_size)
        return {
            "one_block_s": {stage: round(value, 4) for stage, value in seconds.items()},
            "all_blocks_s": {stage: round(value * self._shape.num_blocks, 2) for stage, value in seconds.items()},
        }

    def kernel(self) -> list[dict[str, Any]] | str:
        """The sweep of q, k and v together, in Triton and in torch."""
        is_gpu = self._device.type == "cuda"
        return compare_sweeps(PATTERNS, self._shape.hidden, self._device) if is_gpu else NOT_MEASURED

    def offload(self) -> dict[str, Any]:
        """SparseGPT on the stand-in, all of it on the device and with blocks and hidden states on the host."""
        prune, mover = partial(self._prune, METHODS["sparsegpt"], PATTERNS["50%"]), Mover(self._device)
        shape, dtype = WIDE["small" if self._asked.shape == "small" else "llama2_70b"], getattr(torch, self._asked.dtype)
        on_device = self._run(shape, prune)
        offloaded = self._run(shape, prune, mover) | {"peak_of_blocks_mib": round(mover.peak_bytes / MIB, 1)}
        expected = peak_bytes(device_bytes(shape, dtype, self._asked.batch_size * self._asked.length))
        offloaded["expected_peak_mib"] = round(expected / MIB, 1)
        return asdict(shape) | {"on_device": on_device, "offloaded": offloaded}

    def _run(self, shape: Shape, work: Callable[[Any], Any], mover: Mover | None = None) -> dict[str, Any]:
        """Seconds of some work with a new model that has warmed up, and the peak of a GPU's allocated memory."""
        model = self._model(shape)
        if mover is not None:
            offload_blocks(model, find_blocks(model), mover)
        forward(model, self._tokens_NL[:1], 1)
        self._free()
        seconds = timed(partial(work, model))
        peak_mib = round(torch.cuda.max_memory_allocated() / MIB, 1) if self._device.type == "cuda" else NOT_MEASURED
        return {"seconds": round(seconds, 3), "peak_mib": peak_mib}

    def _model(self, shape: Shape) -> Any:
        self._free()
        return make_model(shape, getattr(torch, self._asked.dtype), self._device, self._asked.length)

    def _free(self) -> None:
        """Give back what nobody holds, and begin to look for the peak of memory anew."""
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def _prune(self, method: Method, pattern: Pattern, model: Any) -> None:
        calibration, batch_size = CalibrationSet.of_tokens(self._tokens_NL), self._asked.batch_size
        reports = prune_model(model, calibration, method, pattern, batch_size=batch_size, seed=0)
        check_reached(pattern, method, reports)

    def _published(self, method: str, name: str) -> Callable[[Any], None]:
        pattern = PATTERNS[name]
        group = (pattern.n, pattern.m) if isinstance(pattern, NM) else None
        return lambda model: plain.prune_plainly(model, self._tokens_NL, method, pattern.ratio, group)

    def _expected(self, method: str, name: str) -> dict[str, int]:
        """Floor and target, where the case is the one that they are for."""
        is_case = {key: (vars(self._asked) | {"num_blocks": self._shape.num_blocks})[key] for key in CASE} == CASE
        return {"floor_s": FLOORS_S[method], "target_s": TARGETS_S[method]} if is_case and name == "50%" else {}


def triton_version() -> str | None:
    """None where there is none."""
    try:
        import triton
    except ImportError:
        return None
    return str(triton.__version__)


def print_table(lines: list[dict[str, Any]]) -> None:
    """One line a method and pattern."""
    print(f"{'':14}{'method':11}{'pattern':8}{'seconds':>9}{'forwards':>9}{'floor s':>8}{'target s':>9}{'peak MiB':>13}")
    for one in lines:
        names = f"{one['side']:14}{one['method']:11}{one['pattern']:8}"
        expected = f"{one.get('floor_s', ''):>8}{one.get('target_s', ''):>9}"
        print(f"{names}{one['seconds']:9.2f}{one['forwards']:9.2f}{expected}{one['peak_mib']:>13}")


PARTS: dict[str, Callable[[Bench], Any]] = {
    "pruning": Bench.pruning,
    "plain": Bench.plain,
    "stages": Bench.stages,
    "kernel": Bench.kernel,
    "offload": Bench.offload,
}

if __name__ == "__main__":
    main()
