"""What the GPU does while a cell works: a sample every few seconds from nvidia-smi, in the cell's gpu.jsonl.

W&B's own system metrics come from a run that is open meanwhile. Ours is written when the cell is finished, so that W&B can
neither hold up nor cost a cell; the samples go into its history.
"""

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prune.cell.folder import CellFolder
from prune.files import parse_json

log = logging.getLogger("prune")

SECONDS = "gpu/seconds"
"""Since the cell began, without the time between two attempts."""

MEASURED = {
    "gpu/utilization_percent": "utilization.gpu",
    "gpu/memory_mb": "memory.used",
    "gpu/power_w": "power.draw",
    "gpu/temperature_c": "temperature.gpu",
}
"""Our name -> nvidia-smi's."""

PERIOD_S = 5.0

SMI_TIMEOUT_S = 10.0


@contextmanager
def watch_gpu(folder: Path) -> Iterator[None]:
    """Inside, keep samples in the cell's `folder` as long as this process uses a GPU; without one nothing is written."""
    over = threading.Event()
    thread = threading.Thread(target=_sample, args=(folder, over), name="gpu-samples", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def read_samples(folder: Path) -> list[dict[str, float]]:
    """The samples of the cell in `folder`, oldest first; damaged lines are left out."""
    path = CellFolder(folder).gpu
    found = map(_parse, path.read_bytes().splitlines() if path.exists() else ())
    return [sample for sample in found if sample is not None]


def _parse(line: bytes) -> dict[str, float] | None:
    """The sample of a line; None where it is damaged."""
    try:
        sample = parse_json(line)
    except ValueError:
        return None
    if not isinstance(sample, dict) or SECONDS not in sample:
        return None
    return sample if all(isinstance(value, int | float) for value in sample.values()) else None


def _sample(folder: Path, over: threading.Event) -> None:
    begin = time.monotonic()
    try:
        earlier = max((sample[SECONDS] for sample in read_samples(folder)), default=0.0)
        while not over.wait(PERIOD_S):
            uuid = used_gpu()
            if uuid is not None:
                seconds = round(earlier + time.monotonic() - begin, 1)
                _append(CellFolder(folder).gpu, {SECONDS: seconds} | read_gpu(uuid))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.info("the GPU is not watched: %s", error)


def used_gpu() -> str | None:
    """The UUID of the GPU that this process uses; None when it uses none, or not yet."""
    torch: Any = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_initialized():
            return None
        return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
    except AttributeError:  # torch is being imported
        return None


def read_gpu(uuid: str) -> dict[str, float]:
    """What nvidia-smi measures of a GPU now, without what it does not know.

    Raises:
        OSError, subprocess.SubprocessError: there is no nvidia-smi, or it does not answer.
    """
    line = ["nvidia-smi", f"--id={uuid}", f"--query-gpu={','.join(MEASURED.values())}", "--format=csv,noheader,nounits"]
    said = subprocess.run(line, capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=True).stdout
    values = zip(MEASURED, said.strip().split(", "), strict=True)
    return {name: float(value) for name, value in values if not value.startswith("[")}


def _append(path: Path, sample: dict[str, float]) -> None:
    with path.open("a") as stream:
        stream.write(json.dumps(sample) + "\n")
