"""The column sweep of SparseGPT as a Triton kernel, against the one in torch on the same GPU; used by bench/gpu.py."""

from collections.abc import Mapping
from functools import partial
from typing import Any
from unittest.mock import patch

import torch

from bench.timing import timed
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.solver.column_sweep import Swept, column_sweep, whole_groups
from prune.pruning.solver.hessian import Hessian
from prune.pruning.sparsity import Pattern

TOLERANCE = 1e-4
"""Relative and absolute, of tests/pruning/methods/interpreted_triton.py."""
NUM_LINEARS = 3
"""Swept together, as q, k and v are."""


def compare_sweeps(patterns: Mapping[str, Pattern], num_outputs: int, device: torch.device) -> list[dict[str, Any]]:
    """For each pattern one block of columns, where rounding cannot add up, and then as many columns as outputs."""
    sizes = (SparseGPT().block_size, num_outputs)
    return [
        {"pattern": name, "num_columns": num_columns} | _compare(pattern, num_outputs, num_columns, device)
        for name, pattern in patterns.items()
        for num_columns in sizes
    ]


def _compare(pattern: Pattern, num_outputs: int, num_columns: int, device: torch.device) -> dict[str, Any]:
    """Both sweeps of random weights on one random factor: seconds of each once it has run, and how alike they are."""
    made: Any = {"generator": torch.Generator(device).manual_seed(0), "device": device}
    hessian = Hessian(num_columns, device)
    hessian.add(torch.randn(4 * num_columns, num_columns, **made))
    block_size = whole_groups([pattern], SparseGPT().block_size)
    blocks_II = hessian.factor(SparseGPT().damping, block_size).blocks_II
    weights = [torch.randn(num_outputs, num_columns, **made) for _ in range(NUM_LINEARS)]
    run = partial(column_sweep, weights, [pattern] * NUM_LINEARS, blocks_II, block_size)
    swept: dict[str, list[Swept]] = {}
    seconds: dict[str, float] = {}
    for side, is_triton in (("triton", True), ("torch", False)):
        with patch("prune.pruning.solver.column_sweep.sweeps_on_triton", lambda *_, is_triton=is_triton: is_triton):
            swept[side] = run()
            seconds[side] = timed(run)
    alike = [_how_alike(*pair) for pair in zip(swept["triton"], swept["torch"], strict=True)]
    worst = {key: max(one[key] for one in alike) for key in alike[0]}
    return {"seconds": seconds, "times_faster": round(seconds["torch"] / seconds["triton"], 2)} | worst


def _how_alike(one: Swept, other: Swept) -> dict[str, float]:
    """Shares of the mask and of the weights that differ, and the difference of the squared errors, relative."""
    is_close_OI = torch.isclose(one.weight_OI, other.weight_OI, rtol=TOLERANCE, atol=TOLERANCE)
    return {
        "share_of_mask_that_differs": float((one.mask_OI != other.mask_OI).float().mean()),
        "share_of_weights_beyond_tolerance": 1 - float(is_close_OI.float().mean()),
        "relative_error_difference": abs(one.squared_error / other.squared_error - 1),
    }
