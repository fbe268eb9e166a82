"""A finished cell as a tracker sees it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from prune.track.tracker import Record

PROTOCOL = {"name": "chunks"}


def make_result(cell: str, ppl: float, acc: float, **axes: Any) -> dict[str, Any]:
    """result.json of a cell with these scores."""
    place = {"model": "tiny", "calib": "gsm8k", "prompt": "icl", "method": "wanda", "sparsity": "50%", "seed": 0}
    return {
        "cell": cell,
        "dense_cell": "dense0",
        "axes": place | axes,
        "metrics": {
            "ppl/wikitext2": {"value": ppl, "stderr": 0.5, "num_items": 40, "protocol": PROTOCOL},
            "acc/gsm8k": {"value": acc, "stderr": 0.04, "num_items": 100, "protocol": PROTOCOL},
        },
        "sparsity": {"asked": 0.5, "reached": 0.5, "num_zero": 4, "num_weights": 8},
        "calib": {"id": "set", "num_tokens": 64},
        "seconds": {"prune": 1.5, "total": 3.0},
        "peak_memory_mb": {"host": 512.0, "device": 0.0, "host_by": "VmHWM"},
        "warnings": ["sample"],
        "provenance": {"git": "abc", "host": "n1"},
    }


RESULT = make_result("abc123", 31.5, 0.75)
DENSE = make_result("dense0", 20.5, 0.875, calib=None, prompt=None, method="dense", sparsity=None, seed=None)
C4 = make_result("c40000", 30.0, 0.5, calib="c4", prompt=None)

LINEARS: list[dict[str, Any]] = [
    {"block": 0, "num_zero": 1, "num_weights": 4, "error": 0.25, "seconds": 0.5},
    {"block": 0, "num_zero": 3, "num_weights": 4, "error": 0.75, "seconds": 0.5},
    {"block": 1, "num_zero": 2, "num_weights": 4, "error": None, "seconds": 0.25},
]

ASKED: dict[str, Any] = {
    "model": {"name": "tiny"},
    "calib": {"name": "gsm8k", "num_samples": 128},
    "prompt": {"name": "icl", "num_shots": None},
    "method": {"name": "wanda"},
    "sparsity": {"name": "unstructured", "ratio": 0.5},
}


def make_record(folder: Path, result: dict[str, Any] = RESULT, **more: Any) -> Record:
    """The record of a cell whose folder is `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    record = Record(result["cell"], "tiny/gsm8k-icl/wanda/50%/s0", "my-sweep", ASKED, result, LINEARS, folder)
    return replace(record, **more)
