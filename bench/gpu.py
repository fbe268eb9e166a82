"""What pruning costs on one GPU, for the shapes of Llama 2 7B. Needs torch, transformers and triton, and nothing else.

    python -m bench.gpu [--shape llama2_7b|small] [--samples 128] [--length 2048] [--dtype bfloat16] [--batch-size 8] \
        [--methods wanda,sparsegpt] [--blocks N] [--plain-blocks 2] [--device cuda] [--parts PART,...] [--out FILE]
    python -m bench.gpu --model FOLDER --data ROWS [--items 100] [--device cuda] [--dtype bfloat16] [--out FILE]

Weights are random, made on the device without a download, and so are the tokens; loading is not counted. Parts, the most
important first; after `--seconds` no further measurement is begun, and what is left is `not measured`:

    ceilings  products of large matrices and a copy in memory, measured: what floors are made of (bench/ceilings.py)
    pruning   one dense forward over all blocks, and our walk, unstructured 50 %, with the peak of allocated memory
    stages    one block: forward passes, statistics, factorisation, choosing the weights (bench/stages.py), each beside its
              floor (bench/floors.py); what is above 1.5 times its floor is where time can be had
    plain     ours and the published flow (bench/plain.py) on the first `--plain-blocks` blocks, unstructured and 2:4, and
              what all would take
    kernel    the column sweep in Triton against the one in torch: how alike, how fast (bench/kernel.py)
    choosing  the k-th lowest of many scores, beside a sort (bench/choosing.py)
    offload   model.offload on a wide and shallow stand-in (Llama 2 70B's shapes, 3 blocks): peak memory with it and without
    n_of_m    as `pruning`, for 2:4

The file (bench/results/gpu.json) is written after each measurement. `units` are two dense forwards over all blocks, what
pruning takes by its passes alone. Targets are for all 32 blocks, 128 x 2048 tokens and bfloat16 on one H100. `--device cpu
--shape small --samples 4 --length 64` shows that all of this runs; its numbers mean nothing.

With `--model` a real model in a folder is pruned and scored instead (bench/real.py), which needs more packages.

Shapes: N samples, L tokens.
"""

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from bench import plain
from bench.ceilings import Ceilings, measure_ceilings
from bench.choosing import measure_choosing
from bench.floors import block_floors, whole_floor
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
TARGETS_S = {"wanda": 25, "sparsegpt": 60}
CASE = {"shape": "llama2_7b", "num_blocks": 32, "samples": 128, "length": 2048, "dtype": "bfloat16"}
"""What targets are for."""
NOT_MEASURED = "not measured"
MIB = 2**20


def main() -> None:
    """Measure, print, and keep the numbers."""
    asked = parse()
    if asked.model is not None:
        from bench.real import measure_model  # what else it needs may be missing where the rest runs

        measure_model(asked, describe(asked))
        return
    bench = Bench(asked)
    for part in asked.parts.split(","):
        bench.keep(part, NOT_MEASURED if bench.is_late() else PARTS[part](bench))
        print(part, json.dumps(bench.report[part], indent=2), flush=True)
    lines = [line for part in ("pruning", "n_of_m") for line in bench.report[part] if isinstance(line, dict)]
    print_table(lines)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["llama2_7b", "small"], default=CASE["shape"])
    parser.add_argument("--samples", type=int, default=CASE["samples"])
    parser.add_argument("--length", type=int, default=CASE["length"])
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default=CASE["dtype"])
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--model", help="a folder of transformers with a real model, which is pruned and scored instead")
    parser.add_argument("--data", help="with --model: a folder with rows, as data.root")
    parser.add_argument("--items", type=int, default=100, help="with --model: questions of each set")
    parser.add_argument("--seconds", type=float, help="after which no measurement begins: 225, with --model 130")
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
    if (asked.model is None) != (asked.data is None):
        parser.error("--model and --data go together: a folder with a model, and one with rows to prune and score it by")
    asked.seconds = (225 if asked.model is None else 130) if asked.seconds is None else asked.seconds
    return asked


def describe(asked: argparse.Namespace) -> dict[str, Any]:
    """On what is measured, and how."""
    is_gpu = asked.device == "cuda"
    return {name: getattr(asked, name) for name in ("samples", "length", "dtype", "batch_size")} | {
        "device": torch.cuda.get_device_name()
        if is_gpu
        else f"cpu, {platform.machine()}, {torch.get_num_threads()} threads",
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "triton": triton_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


class Bench:
    """Measurements over random weights and tokens."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self._asked, self._began = asked, time.monotonic()
        self._device, self._dtype = torch.device(asked.device), getattr(torch, asked.dtype)
        shape = SHAPES[asked.shape]
        self._shape = replace(shape, num_blocks=asked.blocks or shape.num_blocks)
        generator = torch.Generator().manual_seed(0)
        self._tokens_NL = torch.randint(shape.vocabulary, (asked.samples, asked.length), generator=generator)
        about = {"shape": asked.shape, "num_blocks": self._shape.num_blocks}
        self.report = about | describe(asked) | dict.fromkeys(PARTS, NOT_MEASURED)
        self._dense: dict[str, Any] | None = None
        self._ceilings: Ceilings | None = None

    def is_late(self) -> bool:
        """Whether no further measurement is to begin."""
        return time.monotonic() - self._began > self._asked.seconds

    def keep(self, part: str, measured: Any) -> None:
        """Write the file with what was measured of a part."""
        self.report[part] = measured
        self._asked.out.write_text(json.dumps(self.report, indent=2) + "\n")

    def ceilings(self) -> dict[str, float]:
        """See bench/ceilings.py."""
        return self._rates().described()

    def pruning(self) -> list[dict[str, Any]]:
        """A line for one dense forward, and one for each method."""
        return self._prune_whole("pruning", "50%")

    def n_of_m(self) -> list[dict[str, Any]]:
        """The same, for 2:4."""
        return self._prune_whole("n_of_m", "2:4")

    def _prune_whole(self, part: str, name: str) -> list[dict[str, Any]]:
        if self._dense is None:
            self._dense = self._run(self._shape, lambda model: forward(model, self._tokens_NL, self._asked.batch_size))
        lines = [{"side": "dense forward", "method": "", "pattern": "", "units": 0.5} | self._dense]
        for method in self._asked.methods.split(","):
            if self.is_late():
                break
            measured = self._run(self._shape, partial(self._prune, METHODS[method], PATTERNS[name]))
            units = {"units": round(measured["seconds"] / self._dense["seconds"] / 2, 2)}
            lines.append(
                {"side": "ours", "method": method, "pattern": name} | measured | units | self._expected(method, name)
            )
            self.keep(part, lines)
        return lines

    def plain(self) -> list[dict[str, Any]]:
        """Ours and the published flow on the first blocks; `scaled_s` is what all blocks would take at that pace."""
        shape = replace(self._shape, num_blocks=min(self._asked.plain_blocks, self._shape.num_blocks))
        times = self._shape.num_blocks / shape.num_blocks
        lines: list[dict[str, Any]] = []
        for name, pattern in PATTERNS.items():
            for method in self._asked.methods.split(","):
                if self.is_late():
                    return lines
                sides = {
                    "ours": partial(self._prune, METHODS[method], pattern),
                    "plain": self._published(method, name),
                }
                measured = {side: self._run(shape, prune) for side, prune in sides.items()}
                for one in measured.values():
                    one["scaled_s"] = round(one["seconds"] * times, 2)
                ratio = round(measured["plain"]["seconds"] / measured["ours"]["seconds"], 2)
                about = {"method": method, "pattern": name, "num_blocks": shape.num_blocks, "ratio": ratio}
                lines.append(about | measured)
                self.keep("plain", lines)
        return lines

    def stages(self) -> dict[str, dict[str, float]]:
        """Seconds of a block, its floor, how often that goes into it, and seconds times the number of blocks."""
        model = self._model(replace(self._shape, num_blocks=2))
        seconds = measure_stages(model, self._tokens_NL, PATTERNS, self._asked.batch_size)
        floors = self._floors()
        of_stage = {stage: next(floor for name, floor in floors.items() if stage.startswith(name)) for stage in seconds}
        return {
            "one_block_s": {stage: round(value, 5) for stage, value in seconds.items()},
            "floor_s": {stage: round(value, 6) for stage, value in of_stage.items()},
            "times_floor": {stage: round(value / of_stage[stage], 2) for stage, value in seconds.items()},
            "all_blocks_s": {stage: round(value * self._shape.num_blocks, 2) for stage, value in seconds.items()},
        }

    def choosing(self) -> list[dict[str, Any]]:
        """See bench/choosing.py."""
        return measure_choosing(self._shape, self._device, self._rates())

    def _rates(self) -> Ceilings:
        if self._ceilings is None:
            self._free()
            self._ceilings = measure_ceilings(self._device, self._dtype)
        return self._ceilings

    def _floors(self) -> dict[str, float]:
        return block_floors(self._shape, self._asked.samples, self._asked.length, self._dtype.itemsize, self._rates())

    def kernel(self) -> list[dict[str, Any]] | str:
        """The sweep of q, k and v together, in Triton and in torch."""
        is_gpu = self._device.type == "cuda"
        return compare_sweeps(PATTERNS, self._shape.hidden, self._device) if is_gpu else NOT_MEASURED

    def offload(self) -> dict[str, Any]:
        """SparseGPT on the stand-in, all of it on the device and with blocks and hidden states on the host."""
        prune, mover = partial(self._prune, METHODS["sparsegpt"], PATTERNS["50%"]), Mover(self._device)
        shape, dtype = WIDE["small" if self._asked.shape == "small" else "llama2_70b"], self._dtype
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
        return make_model(shape, self._dtype, self._device, self._asked.length)

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

    def _expected(self, method: str, name: str) -> dict[str, float]:
        """The floor at this device's rates, and the target where the case is the one that it is for."""
        is_case = {key: (vars(self._asked) | {"num_blocks": self._shape.num_blocks})[key] for key in CASE} == CASE
        target = {"target_s": TARGETS_S[method]} if is_case and name == "50%" else {}
        return {"floor_s": round(whole_floor(method, self._floors(), self._shape.num_blocks), 3)} | target


def triton_version() -> str | None:
    """None where there is none."""
    try:
        import triton
    except ImportError:
        return None
    return str(triton.__version__)


def print_table(lines: list[dict[str, Any]]) -> None:
    """One line a method and pattern."""
    print(f"{'':14}{'method':11}{'pattern':8}{'seconds':>9}{'units':>9}{'floor s':>8}{'target s':>9}{'peak MiB':>13}")
    for one in lines:
        names = f"{one['side']:14}{one['method']:11}{one['pattern']:8}"
        expected = f"{one.get('floor_s', ''):>8}{one.get('target_s', ''):>9}"
        print(f"{names}{one['seconds']:9.2f}{one['units']:9.2f}{expected}{one['peak_mib']:>13}")


PARTS: dict[str, Callable[[Bench], Any]] = {
    "ceilings": Bench.ceilings,
    "pruning": Bench.pruning,
    "stages": Bench.stages,
    "plain": Bench.plain,
    "kernel": Bench.kernel,
    "choosing": Bench.choosing,
    "offload": Bench.offload,
    "n_of_m": Bench.n_of_m,
}

if __name__ == "__main__":
    main()
