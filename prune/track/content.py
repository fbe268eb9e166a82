"""What a W&B run shows of a cell: configuration, history, summary, and the keys under which `prune.dashboard` finds them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from prune.config.reconstruct import ReconstructConfig
from prune.config.select import SelectConfig
from prune.config.weight import WeightConfig
from prune.eval.metric import are_comparable

AXES = {
    "model": "model.name",
    "calib": "calib.name",
    "prompt": "prompt.name",
    "select": "select.name",
    "weight": "weight.name",
    "method": "method.name",
    "sparsity": "sparsity.label",
    "seed": "seed",
}
"""Axis -> its key in a run's configuration."""

ANY = "any"
"""The value of an axis that does not matter to the cell: the prompt of raw text, the calibration set of magnitude."""

PLAIN = {"select": SelectConfig().name, "weight": WeightConfig().name}
"""Axis -> its value where nothing else is asked for, or what is asked for cannot matter."""

BLOCK = "block"
"""Step of the history: the block's index."""

BLOCK_OUTPUT, BLOCK_OUTPUT_PRUNED = "block/output_error", "block/output_error_pruned"
"""The error of a refitted block's outputs, and before the refit."""

BLOCK_SPARSITY, BLOCK_ERROR, BLOCK_SECONDS = "block/sparsity", "block/error", "block/seconds"

TO_DENSE, TO_C4 = "to_dense", "to_c4"
"""Before a metric's name: its difference to the dense cell, and to the cell that differs only in being calibrated on C4."""

Result = Mapping[str, Any]
"""result.json."""


def run_config(asked: Mapping[str, Any], result: Result) -> dict[str, Any]:
    """The configuration as asked for, nested, with `any` for an axis that does not matter, and seed, ids, provenance."""
    axes = result["axes"]
    config = dict(asked) | {axis: {"name": ANY} for axis in ("calib", "prompt", "sparsity") if axes[axis] is None}
    config |= {axis: {"name": plain if axes["calib"] else ANY} for axis, plain in PLAIN.items() if axes.get(axis) is None}
    if axes.get("reconstruct") is None:
        config["reconstruct"] = {"name": ANY if axes["sparsity"] is None else ReconstructConfig().name}
    config["sparsity"] = dict(config["sparsity"]) | {"label": axes["sparsity"] or ANY}
    return config | {
        "seed": axes["seed"],
        "cell": result["cell"],
        "dense_cell": result["dense_cell"],
        "calibration": result["calib"],
        "provenance": result["provenance"],
    }


_TAGS = ("model", "calib", "prompt", "select", "weight", "reconstruct")


def run_tags(result: Result) -> list[str]:
    """Model, calibration set, prompt, selector, token weights and refit, as far as they matter, without repetition."""
    axes = result["axes"]
    return list(dict.fromkeys(axes[axis] for axis in _TAGS if axes.get(axis)))


def block_history(linears: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """One line a block: the sparsity over its linears, the mean of their errors where there are any, their seconds."""
    blocks: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for linear in linears:
        blocks[linear["block"]].append(linear)
    return [_block_line(index, group) for index, group in sorted(blocks.items())]


def _block_line(index: int, linears: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    errors = [linear["error"] for linear in linears if linear["error"] is not None]
    line: dict[str, float] = {
        BLOCK: index,
        BLOCK_SPARSITY: sum(linear["num_zero"] for linear in linears) / sum(linear["num_weights"] for linear in linears),
        BLOCK_SECONDS: sum(linear["seconds"] for linear in linears),
    }
    refit = {BLOCK_OUTPUT: linears[0].get("block_error"), BLOCK_OUTPUT_PRUNED: linears[0].get("block_error_pruned")}
    line |= {key: error for key, error in refit.items() if error is not None}
    return line | ({BLOCK_ERROR: sum(errors) / len(errors)} if errors else {})


def summary(result: Result, dense: Result | None = None, c4: Result | None = None) -> dict[str, float]:
    """The final numbers of result.json as plain values, by their names in W&B.

    Metrics under their own names, with `stderr/`, `to_dense/` and `to_c4/` before them where that is known; sparsity,
    seconds and peak memory; the number of warnings.
    """
    numbers = {name: metric["value"] for name, metric in result["metrics"].items()}
    numbers |= {
        f"stderr/{name}": metric["stderr"] for name, metric in result["metrics"].items() if metric["stderr"] is not None
    }
    numbers |= differences(TO_DENSE, result, dense) | differences(TO_C4, result, c4)
    for group in ("sparsity", "seconds", "peak_memory_mb"):
        numbers |= {f"{group}/{key}": value for key, value in (result[group] or {}).items() if not isinstance(value, str)}
    return numbers | {"warnings": len(result["warnings"])}


def differences(prefix: str, result: Result, other: Result | None) -> dict[str, float]:
    """`prefix`/<metric> -> value here minus value there, for the metrics that both measured by one protocol."""
    if other is None:
        return {}
    return {
        f"{prefix}/{name}": metric["value"] - other["metrics"][name]["value"]
        for name, metric in result["metrics"].items()
        if name in other["metrics"] and are_comparable(metric, other["metrics"][name])
    }
