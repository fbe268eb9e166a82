"""What the sweep itself costs per cell: 1,000 real cells of the least work on a private Slurm.

    python -m bench.sweep [--cells 1000] [--cells-per-job 50]

Needs root and Debian's packages, as tests/slurm. Each cell prunes the embedded model at random and is scored on nothing.
Reported: the time to plan, the time until all jobs are submitted, the processor time of the launching process over the whole
sweep (planning, submitting, following, collecting), and the time of the same line again. Results go to bench/results/.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.slurm.configuration import ClusterOptions

ROOT = Path(__file__).resolve().parents[1]
KEYS = ["launcher.mem_gb=1", "launcher.cpus_per_task=1", "launcher.poll_seconds=2"]


def main() -> None:
    """Measure, print, and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--cells-per-job", type=int, default=50)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Cluster(Path(name) / "cluster", ClusterOptions(cpus=2)) as cluster:
        numbers = measure(Path(name), cluster.environment, asked.cells, asked.cells_per_job)
    numbers |= {"python": platform.python_version(), "cores": os.cpu_count(), "date": datetime.now(UTC).date().isoformat()}
    print(json.dumps(numbers, indent=2))
    (ROOT / "bench/results/sweep.json").write_text(json.dumps(numbers, indent=2) + "\n")


def measure(folder: Path, environment: dict[str, str], num_cells: int, cells_per_job: int) -> dict[str, object]:
    """Seconds of each part."""
    seeds = ",".join(map(str, range(num_cells - 1)))  # and the dense cell
    line = ["-m", "method=random", f"calib.seed={seeds}", "eval.tasks=[]", "eval.perplexity=[]", "tracker=none"]
    keys = [*KEYS, f"launcher.cells_per_job={cells_per_job}"]
    plan, _ = run(folder, environment, *line, "launcher=plan")
    submit, _ = run(folder, environment, *line, *keys, "launcher=slurm", "launcher.wait=false")
    follow, follow_cpu = run(folder, environment, *line, *keys, "launcher=slurm")
    again, again_cpu = run(folder, environment, *line, *keys, "launcher=slurm")
    return {
        "cells": num_cells,
        "cells_per_job": cells_per_job,
        "plan_s": round(plan, 2),
        "plan_and_submit_s": round(submit, 2),
        "submit_ms_per_cell": round(1000 * (submit - plan) / num_cells, 2),
        "sweep_s": round(submit + follow, 1),
        "follow_and_collect_cpu_ms_per_cell": round(1000 * follow_cpu / num_cells, 2),
        "same_line_again_s": round(again, 2),
        "same_line_again_cpu_s": round(again_cpu, 2),
    }


def run(folder: Path, environment: dict[str, str], *arguments: str) -> tuple[float, float]:
    """(seconds, processor seconds of the process and its children) of a line, which must end well."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "prune.main", *arguments],
        cwd=folder, env=os.environ | environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(f"the line failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
