"""The sweep of one block of columns as one Triton kernel: a tile of outputs stays in registers from first column to last.

Column by column as in column_sweep.py, with every later column of the block updated at once: on a GPU the many small
products of that file would each be a launch. Imported only where a GPU works, as Triton comes with torch only there.

Shapes: B columns of a block, O outputs, M of N:M.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

OUTPUTS_AT_ONCE = 32
"""Outputs of one program: for 128 columns 168 registers a thread on compute capability 9.0, and nothing spilled."""


def sweep_columns(weight_BO: Tensor, mask_BO: Tensor, inverse_BB: Tensor) -> Tensor:
    """Correct a block in place for a mask that is known (unstructured); the errors e of its columns, B x O."""
    return _launch(weight_BO, mask_BO, inverse_BB, torch.zeros(1, dtype=torch.int32, device=weight_BO.device), 1)


def sweep_groups(weight_BO: Tensor, mask_BO: Tensor, inverse_BB: Tensor, num_O: Tensor, group_size: int) -> Tensor:
    """Correct a block in place and fill in its N:M mask; the errors e of its columns, B x O.

    `num_O` says for each output how many go of each `group_size`, which is a power of two (`fits_groups`).
    """
    return _launch(weight_BO, mask_BO, inverse_BB, num_O, group_size)


def fits_groups(group_size: int) -> bool:
    """Whether the kernel can hold such groups: a power of two."""
    return group_size & (group_size - 1) == 0


def _launch(weight_BO: Tensor, mask_BO: Tensor, inverse_BB: Tensor, num_O: Tensor, group_size: int) -> Tensor:
    assert weight_BO.is_contiguous() and mask_BO.is_contiguous() and num_O.is_contiguous()
    inverse_BB, error_BO = inverse_BB.contiguous(), torch.empty_like(weight_BO)
    num_columns, num_outputs = weight_BO.shape
    with torch.cuda.device_of(weight_BO):  # type: ignore[no-untyped-call]  # Triton launches on the current GPU
        _sweep_kernel[(triton.cdiv(num_outputs, OUTPUTS_AT_ONCE),)](
            weight_BO,
            mask_BO.view(torch.uint8),
            inverse_BB,
            error_BO,
            num_O,
            num_columns,
            num_outputs,
            GROUP=group_size,
            COLUMNS=triton.next_power_of_2(num_columns),
            OUTPUTS=OUTPUTS_AT_ONCE,
        )
    return error_BO


@triton.jit  # type: ignore[untyped-decorator]
def _sweep_kernel(  # type: ignore[no-untyped-def]
    weight_ptr,
    mask_ptr,
    inverse_ptr,
    error_ptr,
    num_ptr,
    num_columns,
    num_outputs,
    GROUP: tl.constexpr,
    COLUMNS: tl.constexpr,
    OUTPUTS: tl.constexpr,
):
    """One program for `OUTPUTS` outputs. GROUP = 1: the mask is read; else it is chosen group by group and written."""
    columns = tl.arange(0, COLUMNS)
    outputs = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    places = columns[:, None] * num_outputs + outputs[None, :]
    exists = (columns[:, None] < num_columns) & (outputs[None, :] < num_outputs)
    weight = tl.load(weight_ptr + places, mask=exists, other=0.0)
    members = tl.arange(0, GROUP)
    for first in range(0, num_columns, GROUP):
        group_places = (first + members[:, None]) * num_outputs + outputs[None, :]
        inside = outputs[None, :] < num_outputs
        if GROUP == 1:
            goes = tl.load(mask_ptr + group_places, mask=inside, other=0) != 0
        else:
            at_member = columns[None, :, None] == first + members[:, None, None]
            group = tl.sum(tl.where(at_member, weight[None, :, :], 0.0), axis=1)
            diagonal = tl.load(inverse_ptr + (first + members) * (num_columns + 1))
            score = group / diagonal[:, None]
            score = score * score
            lower = score[None, :, :] < score[:, None, :]
            before = (score[None, :, :] == score[:, None, :]) & (members[None, :, None] < members[:, None, None])
            rank = tl.sum((lower | before).to(tl.int32), axis=1)
            num = tl.load(num_ptr + outputs, mask=outputs < num_outputs, other=0)
            goes = rank < num[None, :]
            tl.store(mask_ptr + group_places, goes.to(tl.uint8), mask=inside)
        for member in range(GROUP):
            column = first + member
            value = tl.sum(tl.where(columns[:, None] == column, weight, 0.0), axis=0)
            goes_here = tl.sum(tl.where(members[:, None] == member, goes.to(tl.int32), 0), axis=0) != 0
            row = tl.load(inverse_ptr + column * num_columns + columns, mask=columns < num_columns, other=0.0)
            error = tl.where(goes_here, value / tl.load(inverse_ptr + column * (num_columns + 1)), 0.0)
            weight -= tl.where(columns[:, None] > column, row[:, None] * error[None, :], 0.0)
            tl.store(error_ptr + column * num_outputs + outputs, error, mask=outputs < num_outputs)
    tl.store(weight_ptr + places, weight, mask=exists)
