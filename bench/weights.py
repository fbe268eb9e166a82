"""What token weights cost: CPU seconds of pruning with each, beside none.

    python -m bench.weights --model FOLDER --data ROOT [--samples 8] [--length 256] [--methods wanda,sparsegpt] [--count 1] \
        [--out FILE]

The same windows of C4's training split, one thread, batches of one sequence; loading is not counted. Of `--count` runs, in
turn, the fastest counts. CPU seconds are those of this process, so that others on the machine change them little. Results go
to bench/results/weights.json.
"""

import argparse
import copy
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.prune import windows
from bench.timing import METHODS
from prune.calib.calibration_set import CalibrationSet
from prune.config.data import DataConfig, DataSource
from prune.config.options import default_name
from prune.data.registry import find_dataset
from prune.data.sources.source import open_source, texts
from prune.files import write_json
from prune.pruning.layerwise import prune_model
from prune.pruning.registry import WEIGHTS, build_weights
from prune.pruning.sparsity import Unstructured
from prune.pruning.weighted_set import weighted

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure, print, and keep the numbers."""
    asked = parse()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    dense = transformers.AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.float32).eval()
    calibration = read_windows(asked)
    methods, seconds = asked.methods.split(","), dict[str, dict[str, float]]()
    for _ in range(asked.count):
        for method in methods:
            for config in WEIGHTS:
                name, of_method = default_name(config), seconds.setdefault(method, {})
                weighted_set = weighted(calibration, build_weights(config()))
                found = cpu_seconds(copy.deepcopy(dense), weighted_set, method)
                of_method[name] = min(found, of_method.get(name, found))
                print(f"{method} {name} {found:.1f} s", flush=True)
    report = {
        "model": Path(asked.model).name,
        "samples": asked.samples,
        "length": asked.length,
        "count": asked.count,
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "cpu_seconds": seconds,
        "times_none": {method: ratios(of_method) for method, of_method in seconds.items()},
    }
    write_json(asked.out, report)
    print(json.dumps(report["times_none"], indent=2))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--methods", default="wanda")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/weights.json")
    return parser.parse_args()


def read_windows(asked: argparse.Namespace) -> CalibrationSet:
    """The first tokens of documents that are long enough."""
    dataset = find_dataset("c4")
    documents = texts(open_source(DataConfig(name=DataSource.local, root=asked.data)), dataset, dataset.train_split)
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked.model)
    return CalibrationSet.of_tokens(windows(documents, tokenizer, asked.samples, asked.length))


def cpu_seconds(model: Any, calibration: CalibrationSet, method: str) -> float:
    """Of pruning half of all weights."""
    started = time.process_time()
    prune_model(model, calibration, METHODS[method], Unstructured(0.5), batch_size=1)
    return time.process_time() - started


def ratios(seconds: dict[str, float]) -> dict[str, float]:
    """Times what it takes without weights."""
    return {name: round(found / seconds["none"], 3) for name, found in seconds.items()}


if __name__ == "__main__":
    main()
