"""What a report costs: a folder of generated results of 10,000 cells and 20 metrics, its report's seconds, memory and size.

    python -m bench.report [--cells 10000] [--seeds 1] [--no-items] [--folder DIR]

The results are random numbers with the shape of real ones: protocols, configurations, items and blocks as cell/run.py writes
them. The report is written by the command itself in a process of its own.
"""

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from tests.report.result_files import Outputs

SETS = ("c4", "pile", "oscar", "slimpajama", "gsm8k", "svamp", "mawps", "esnli", "anli_r1", "anli_r2", "anli_r3", "rte")
TASKS = ("gsm8k", "svamp", "mawps", "esnli", "anli_r1", "anli_r2", "anli_r3", "rte", "commonsense_qa")
METRICS = ("ppl/wikitext2", "ppl/c4", *(f"{kind}/{task}" for kind in ("acc", "acc_mc") for task in TASKS))
TEXTS = 4
"""Sets without a prompt."""
NUM_ITEMS = 100
NUM_BLOCKS = 32
POOL = 100
"""Different items of a metric at a sparsity."""
PROTOCOL = {
    "split": "test",
    "num_fewshot": 3,
    "exemplar_split": "train",
    "exemplar_ids": [0, 1, 2],
    "separator": "\n\n",
    "prefix_sha256": "9c4fc5036d76c3eee7bf410310990dde2d5a00ef8dd9b6e237eb8b0b3d133436",
    "bos": True,
    "dtype": "float32",
    "lm_eval": "0.4.13",
    "template": "{question} {answer}",
    "max_new_tokens": 64,
    "data": {"source": "hub"},
}


def main() -> None:
    """Generate, report, print one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--no-items", action="store_true", help="results without what each item scored")
    parser.add_argument("--folder", type=Path, help="keep the results here, and use them again")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = (asked.folder or Path(scratch)) / "outputs"
        begin = time.monotonic()
        if not root.exists():
            generate(root, asked.cells, asked.seeds, with_items=not asked.no_items)
        generated = time.monotonic() - begin
        print(json.dumps({"cells": asked.cells, "seeds": asked.seeds, "generate_s": round(generated, 1)} | measure(root)))


def generate(root: Path, num_cells: int, num_draws: int, *, with_items: bool) -> None:
    """Write so many pruned cells, and the dense ones they are compared with."""
    rng = np.random.default_rng(0)
    outputs = Outputs(root, with_items=with_items)
    linear = {"num_zero": 2**23, "num_weights": 2**24, "error": 0.05}
    blocks = "".join(json.dumps({"block": block} | linear) + "\n" for block in range(NUM_BLOCKS) for _ in range(7))
    known: set[str] = set()
    for model, method, ratio, calib, prompt, seed in itertools.islice(_places(num_draws), num_cells):
        dense_id = f"dense{model:07d}"
        if dense_id not in known:
            known.add(dense_id)
            outputs.dense(_scores(rng, 0.0), model=f"m{model}", cell_id=dense_id, protocol=PROTOCOL)
        folder = outputs.cell(
            calib,
            prompt,
            scores=_scores(rng, ratio),
            seed=seed,
            ratio=ratio,
            model=f"m{model}",
            dense_id=dense_id,
            method=method,
            protocol=PROTOCOL,
        )
        (folder / "blocks.jsonl").write_text(blocks)
    outputs.grid("bench")


def _places(num_draws: int) -> Iterator[tuple[int, str, float, str, str | None, int]]:
    """Cells of ever more models."""
    sets = [(calib, prompt) for calib in SETS[TEXTS:] for prompt in ("icl", "cot", "single", "zero_shot")]
    sets = [*((calib, None) for calib in SETS[:TEXTS]), *sets]
    for model in itertools.count():
        for method, ratio in itertools.product(("wanda", "sparsegpt"), (0.3, 0.4, 0.5, 0.6, 0.7)):
            for (calib, prompt), seed in itertools.product(sets, range(num_draws)):
                yield model, method, ratio, calib, prompt, seed


def _scores(rng: np.random.Generator, ratio: float) -> dict[str, tuple[float, ...]]:
    """Items of every metric, each one of a pool: drawing and packing anew for every cell takes an hour."""
    return {metric: _pool(metric.startswith("ppl/"), ratio)[rng.integers(POOL)] for metric in METRICS}


@cache
def _pool(is_loss: bool, ratio: float) -> list[tuple[float, ...]]:
    rng = np.random.default_rng(1)
    if is_loss:
        return [tuple(rng.normal(2 + ratio, 0.3, NUM_ITEMS).tolist()) for _ in range(POOL)]
    return [tuple((rng.random(NUM_ITEMS) > ratio).astype(float).tolist()) for _ in range(POOL)]


def measure(root: Path) -> dict[str, object]:
    """The report's seconds, wall-clock and of the processor, and peak memory, of both its processes; its page's size."""
    command = (
        "import resource, sys; from prune.report.__main__ import main; main(sys.argv[1:]); "
        "used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]; "
        "print(sum(u.ru_utime + u.ru_stime for u in used), sum(u.ru_maxrss for u in used) / 1024)"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", command, str(root)], capture_output=True, text=True, env=environment, check=True
    )
    wall = time.monotonic() - begin
    processor, memory_mb = (float(number) for number in done.stdout.splitlines()[-1].split())
    page = root / "report" / "index.html"
    return {
        "wall_s": round(wall, 1),
        "processor_s": round(processor, 1),
        "memory_mb": round(memory_mb),
        "page_mb": round(page.stat().st_size / 1e6, 2),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


if __name__ == "__main__":
    main()
