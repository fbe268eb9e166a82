"""What a local sweep costs beside its cells: the wall time of one line against the pruning and scoring that it holds.

    python -m bench.cells --model FOLDER --data ROOT [--line "calib=gsm8k,svamp prompt=icl,cot sparsity.ratio=0.4,0.5"]

The line runs as a user runs it, in a process of its own and an empty folder; the dense cell is one of its cells. All that is
neither pruning (with the hash of the weights) nor scoring is overhead: starting, importing, loading the model, building
calibration sets, restoring dense weights, writing, W&B's offline runs, the page. Results go to bench/results/cells.json.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).resolve().parent / "results/cells.json"
LINE = "calib=gsm8k,svamp prompt=icl,cot sparsity.ratio=0.4,0.5"
SIZES = ("calib.num_samples=16", "calib.seq_len=512", "eval=perplexity", "eval.perplexity=[wikitext2]", "eval.num_chunks=8")
TARGET = 0.10
"""Overhead, as a share of the pruning and scoring."""


def main() -> None:
    """Measure, print, and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--line", default=LINE)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    line = [*asked.line.split(), *SIZES, "eval.seq_len=1024", "data=local", "batch_size=1"]
    with tempfile.TemporaryDirectory() as folder:
        seconds = run([*line, "model=gemma3_270m", f"model.path={asked.model}", f"data.root={asked.data}"], Path(folder))
        numbers = summarise(
            seconds, [json.loads(path.read_text()) for path in Path(folder).glob("outputs/cells/*/result.json")]
        )
    numbers |= {
        "line": line,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    print(json.dumps(numbers, indent=2))
    asked.out.write_text(json.dumps(numbers, indent=2) + "\n")


def run(line: list[str], folder: Path) -> float:
    """Seconds of the whole line."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "prune.main", "-m", *line], cwd=folder, check=True)
    return time.perf_counter() - start


def summarise(seconds: float, results: list[dict[str, Any]]) -> dict[str, Any]:
    """The line's time beside that of its cells' pruning and scoring."""
    stages = {stage: sum(result["seconds"][stage] for result in results) for stage in ("load", "calib", "prune", "eval")}
    work = stages["prune"] + stages["eval"]
    return {
        "cells": len(results),
        "line_s": round(seconds, 2),
        "stages_s": {stage: round(value, 2) for stage, value in stages.items()},
        "overhead": round(seconds / work - 1, 4),
        "target": TARGET,
    }


if __name__ == "__main__":
    main()
