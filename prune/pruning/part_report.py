"""Reports on the linears of a model that loses whole parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prune.models.blocks import find_blocks, find_linears, read_weight
from prune.pruning.linear_report import LinearReport

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def report_parts(model: PreTrainedModel, is_gone: Callable[[int, str], bool]) -> list[LinearReport]:
    """A report for each linear of the dense `model`: gone as a whole, or untouched.

    `is_gone` is asked with the number of its block and its name in it.
    """
    reports: list[LinearReport] = []
    for index, block in enumerate(find_blocks(model)):
        for name, linear in find_linears(block).items():
            weight_OI, gone = read_weight(linear), is_gone(index, name)
            size = weight_OI.numel()
            num_zero = size if gone else size - int(weight_OI.count_nonzero())
            reports.append(
                LinearReport(
                    block=index,
                    name=name,
                    shape=(weight_OI.shape[0], weight_OI.shape[1]),
                    num_zero=num_zero,
                    num_weights=size,
                    sparsity=num_zero / size,
                    error=None,
                    seconds=0.0,
                    num_removed=size if gone else 0,
                    asked=float(gone),
                )
            )
    return reports
