"""What pruning costs: ours, the published flow, llm-compressor, in units of two dense forwards over the same tokens.

    python -m bench.prune --model FOLDER --data ROOT [--samples 16] [--length 512] [--count 3] [--batch-sizes 1,2,4,8,16] \
        [--scaling 8,16,32,64] [--llm-compressor PYTHON] [--parts batch,pruning,stages,solver,iterative,curve,scaling] \
        [--out FILE]

Each measurement is a process of its own (bench/prune_once.py), so that peak memory is its own too; a warm-up forward comes
first and loading is not counted. Sides alternate, medians of `--count` runs are compared. The unit is two forwards over all
blocks, without the head, at the batch size that is fastest for them; ours runs at the batch size that is fastest for it,
found by measuring. The solver's own line feeds ours and the plain one the same statistics at every linear, and compares
masks and output errors; the part `iterative` has ALPS and ADMM beside SparseGPT's solver and their own floors.
llm-compressor needs another transformers than ours: `--llm-compressor` names a Python that has it; it is measured at batch
sizes 1 and 8. A sparsity curve (method.propagation=dense) is compared with one of its cells.
Calibration text is C4's training split from ROOT/c4, held-out text its validation split. Results go to
bench/results/prune.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor

from prune.config.data import DataConfig, DataSource
from prune.data.registry import find_dataset
from prune.data.sources.source import open_source, texts

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("wanda", "sparsegpt")
PARTS = ("batch", "pruning", "stages", "solver", "iterative", "curve", "scaling")
"""Methods of `Bench`, in the order in which they are measured."""
TARGETS = {"wanda": 0.95, "sparsegpt": 1.5}
"""Units that ours may take."""
CURVE_TARGET = 1.5
"""Times of one cell that the cells of a curve of six ratios may take."""
NUM_HELD_OUT = 8
COMPRESSOR_BATCH_SIZES = (1, 8)


def main() -> None:
    """Measure, print, and keep the numbers, part after part."""
    asked = parse()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(asked, Path(folder))
        sizes = dict.fromkeys(("forward", *METHODS), asked.batch_size)
        report = bench.describe() | {"batch_size": sizes}
        for part in asked.parts.split(","):
            report[part] = getattr(bench, part)(sizes)
            if part == "batch":
                sizes |= {side: min(seconds, key=seconds.__getitem__) for side, seconds in report[part].items()}
            print(part, json.dumps(report[part], indent=2), flush=True)
            asked.out.write_text(json.dumps(report, indent=2) + "\n")
        if "pruning" in report:
            print_table(report["pruning"])


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--batch-sizes", default="1,2,4,8,16")
    parser.add_argument("--batch-size", type=int, default=1, help="where the part `batch` is left out")
    parser.add_argument("--scaling", default="8,16,32,64")
    parser.add_argument("--llm-compressor", help="a Python that has llm-compressor")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/prune.json")
    asked = parser.parse_args()
    if unknown := set(asked.parts.split(",")) - set(PARTS):
        parser.error(f"--parts has {', '.join(sorted(unknown))}; allowed: {', '.join(PARTS)}")
    return asked


class Bench:
    """Measurements over one model and one set of tokens."""

    def __init__(self, asked: argparse.Namespace, folder: Path) -> None:
        self._asked, self._folder = asked, folder
        self._scaling = [int(size) for size in asked.scaling.split(",")] if "scaling" in asked.parts else []
        self._tokens = folder / "tokens.safetensors"
        save_file(draw(asked, max([asked.samples, *self._scaling])), self._tokens)

    def run(
        self, side: str, batch_size: int, method: str = "", samples: int = 0, *, with_float64: bool = False
    ) -> dict[str, Any]:
        """One measurement in a process of its own."""
        asked = self._asked
        names = ("model", "dtype", "ratio", "threads")
        specification = {name: getattr(asked, name) for name in names}
        specification |= {"side": side, "batch_size": batch_size, "method": method, "samples": samples or asked.samples}
        specification["with_float64"] = with_float64
        path = self._folder / "specification.json"
        path.write_text(json.dumps(specification | {"tokens": str(self._tokens)}))
        module = [sys.executable, "-m", "bench.prune_once"]
        line = [asked.llm_compressor, "bench/compressor.py"] if side == "llm-compressor" else module
        environment = os.environ | {"OMP_NUM_THREADS": str(asked.threads)} | KEPT_MEMORY
        done = subprocess.run(
            [*line, str(path)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{side} {method} failed:\n{done.stderr[-3000:]}")
        measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        print(side, method, f"batch {batch_size}", f"{samples or asked.samples} samples", json.dumps(measured), flush=True)
        return measured

    def batch(self, sizes: dict[str, int]) -> dict[str, dict[int, float]]:
        """Seconds at each batch size that is asked for, for the unit and for ours; `sizes` are those of before."""
        seconds: dict[str, dict[int, float]] = {side: {} for side in sizes}
        for size in map(int, self._asked.batch_sizes.split(",")):
            seconds["forward"][size] = self.run("forward", size)["seconds"]
            for method in METHODS:
                seconds[method][size] = self.run("ours", size, method)["seconds"]
        return seconds

    def pruning(self, sizes: dict[str, int]) -> list[dict[str, Any]]:
        """A line for each method and side."""
        sides: list[tuple[str, str, int]] = [("forward", "", sizes["forward"])]
        for method in METHODS:
            sides += [("ours", method, sizes[method]), ("plain", method, 1)]
            if self._asked.llm_compressor:
                sides += [("llm-compressor", method, size) for size in COMPRESSOR_BATCH_SIZES]
        runs: dict[tuple[str, str, int], list[dict[str, Any]]] = {side: [] for side in sides}
        for round_ in range(self._asked.count):
            for side in sides if round_ % 2 == 0 else reversed(sides):
                runs[side].append(self.run(side[0], side[2], side[1]))
        unit = median(runs[sides[0]], "seconds")
        return [line(side, measured, unit) for side, measured in runs.items()]

    def stages(self, sizes: dict[str, int]) -> dict[str, Any]:
        """Where our time goes, beside the floors."""
        return self.run("stages", sizes["sparsegpt"])

    def solver(self, sizes: dict[str, int]) -> dict[str, Any]:
        """Both solvers on the same statistics."""
        runs = [self.run("solver", sizes["sparsegpt"], with_float64=not round_) for round_ in range(self._asked.count)]
        seconds = {side: statistics.median(run["seconds"][side] for run in runs) for side in ("ours", "plain")}
        return {
            "ours_s": round(seconds["ours"], 2),
            "plain_s": round(seconds["plain"], 2),
            "ratio": round(seconds["plain"] / seconds["ours"], 2),
            "masks_equal": runs[0]["masks_equal"],
            "largest_error_difference": max(run["largest_error_difference"] for run in runs),
        }

    def iterative(self, sizes: dict[str, int]) -> dict[str, Any]:
        """The run of the median time of ALPS over its floor."""
        runs = [self.run("iterative", sizes["sparsegpt"]) for _ in range(self._asked.count)]
        return sorted(runs, key=lambda run: run["alps"]["times_floor"])[len(runs) // 2]

    def curve(self, sizes: dict[str, int]) -> dict[str, dict[str, Any]]:
        """For each method the run of the median quotient."""
        found = {}
        for method in METHODS:
            runs = [self.run("curve", sizes[method], method) for _ in range(self._asked.count)]
            middle = sorted(runs, key=lambda run: run["quotient"])[len(runs) // 2]
            numbers = {key: round(middle[key], 2) for key in ("one", "seconds", "pass", "quotient", "peak_mb")}
            found[method] = numbers | {"each": [round(seconds, 2) for seconds in middle["each"]], "target": CURVE_TARGET}
        return found

    def scaling(self, sizes: dict[str, int]) -> dict[str, dict[int, dict[str, float]]]:
        """Seconds and peak memory over the number of samples."""
        return {
            method: {
                samples: {key: round(measured[key], 2) for key in ("seconds", "peak_mb")}
                for samples in self._scaling
                for measured in [self.run("ours", sizes[method], method, samples)]
            }
            for method in METHODS
        }

    def describe(self) -> dict[str, Any]:
        """What is measured, on what."""
        names = ("samples", "length", "ratio", "dtype", "threads", "count")
        config = transformers.AutoConfig.from_pretrained(self._asked.model)
        return {name: getattr(self._asked, name) for name in names} | {
            "model": config.model_type,
            "num_blocks": config.num_hidden_layers,
            "hidden_size": config.hidden_size,
            "device": torch.cuda.get_device_name()
            if torch.cuda.is_available()
            else f"{os.cpu_count()} cores, {platform.machine()}",
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "date": datetime.now(UTC).date().isoformat(),
        }


KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
"""What prune/models/host_memory.py asks of glibc, for every side."""


def draw(asked: argparse.Namespace, num_samples: int) -> dict[str, Tensor]:
    """The first windows of documents that are long enough, calibration N x L and held-out."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked.model)
    dataset = find_dataset("c4")
    source = open_source(DataConfig(name=DataSource.local, root=asked.data))
    wanted = {"calibration": (dataset.train_split, num_samples), "held_out": (dataset.eval_split, NUM_HELD_OUT)}
    return {
        name: windows(texts(source, dataset, split), tokenizer, num, asked.length) for name, (split, num) in wanted.items()
    }


def windows(documents: Any, tokenizer: Any, num: int, length: int) -> Tensor:
    """The first `length` tokens of the first `num` documents that have so many."""
    found: list[list[int]] = []
    for document in documents:
        ids = tokenizer(document).input_ids
        if len(ids) >= length:
            found.append(ids[:length])
        if len(found) == num:
            return torch.tensor(found)
    raise SystemExit(f"only {len(found)} documents of at least {length} tokens; {num} are needed")


def median(runs: list[dict[str, Any]], key: str) -> float:
    """The median of a number over runs."""
    return statistics.median(run[key] for run in runs)


def line(side: tuple[str, str, int], runs: list[dict[str, Any]], unit: float) -> dict[str, Any]:
    """What the runs of one side come to."""
    seconds = median(runs, "seconds")
    numbers = {"side": side[0], "method": side[1], "batch_size": side[2], "seconds": round(seconds, 2)}
    numbers |= {"all_seconds": [round(run["seconds"], 2) for run in runs], "units": round(seconds / unit, 3)}
    numbers["peak_mb"] = round(median(runs, "peak_mb"))
    if "loss" in runs[0]:
        numbers["loss"] = round(median(runs, "loss"), 4)
    if side[0] == "ours":
        numbers |= {"target_units": TARGETS[side[1]], "choosing_seconds": round(median(runs, "choosing_seconds"), 2)}
    return numbers


def print_table(lines: list[dict[str, Any]]) -> None:
    """One line a side and method."""
    print(f"{'method':10} {'side':15} {'batch':>5} {'seconds':>8} {'units':>6} {'target':>6} {'peak MB':>8} {'loss':>7}")
    for one in lines:
        names = f"{one['method'] or '(unit)':10} {one['side']:15} {one['batch_size']:5}"
        numbers = f"{one['seconds']:8.2f} {one['units']:6.2f} {one.get('target_units', ''):>6} {one['peak_mb']:8}"
        print(f"{names} {numbers} {one.get('loss', ''):>7}")


if __name__ == "__main__":
    main()
