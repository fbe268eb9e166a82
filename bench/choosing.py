"""How the lowest of many scores are found on a device, beside a sort of them all and the time of reading them once.

Used by bench/gpu.py. SparseGPT chooses from the scores of a block of columns, Wanda from rows, RIA and magnitude from whole
matrices, N:M from groups.
"""

from typing import Any

import torch

from bench.ceilings import Ceilings
from bench.shapes import Shape
from bench.timing import timed
from prune.pruning.sparsity import kth_lowest


def measure_choosing(shape: Shape, device: torch.device, ceilings: Ceilings) -> list[dict[str, Any]]:
    """Seconds of the k-th lowest score of each row, by `kth_lowest` and by a sort."""
    num_outputs, num_inputs = shape.hidden, shape.intermediate
    cases = {
        "a block of 128 columns": (1, num_outputs * 128),
        "each row": (num_outputs, num_inputs),
        "groups of 4": (num_outputs * num_inputs // 4, 4),
        "a matrix": (1, num_outputs * num_inputs),
    }
    lines = []
    for what, (num_rows, num_columns) in cases.items():
        score_RC = torch.rand(num_rows, num_columns, device=device)
        num = num_columns // 2

        def ours(score_RC: torch.Tensor = score_RC, num: int = num) -> torch.Tensor:
            return kth_lowest(score_RC, num)

        def by_sort(score_RC: torch.Tensor = score_RC, num: int = num) -> torch.Tensor:
            return score_RC.sort(dim=1).values[:, num - 1 : num]

        assert torch.equal(ours(), by_sort())
        seconds = {"kth_lowest": timed(ours), "sort": timed(by_sort)}
        floor = score_RC.nbytes / ceilings.bytes_per_s
        lines.append({"of": what, "rows": num_rows, "columns": num_columns, "seconds": seconds, "floor_s": floor})
    return lines
