"""The column sweep of SparseGPT (Frantar & Alistarh 2023, arXiv 2301.00774, algorithm 1), in three levels of blocks.

The paper, with U = R^-1 and H = R R^T: for each column j in order, e_j = w_j / U_jj where w_j goes and 0 where it stays, and
every later column k loses e_j U_jk. Here a column takes in what it owes to the earlier ones only when its turn comes, from
few large products: from all earlier blocks, then from the earlier tiles of its block, then from the columns of its tile. The
order of the sums changes, the result does not.

What a block owes to earlier blocks needs no inverse of R. With D = new - old weights and E of columns e_j, D R = -E, so the
earlier blocks A change the weights of a block B by -D_A R_AB (R_BB)^-1. Only the small blocks on the diagonal of R are
inverted; the inverse of such a block is the diagonal block of the inverse.

Rows (outputs) never meet: linears with the same inputs are stacked and swept together, each with a threshold of its own.

Shapes: O out, of all linears together; I in; B columns of a block; C columns of a tile in it. Weights are worked on
transposed (I x O), so that a column of the paper lies in one piece of memory.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prune.sparsity import NM, Pattern, lowest_in_groups, lowest_in_matrix

TILE_SIZE = 32
"""Columns that are swept one by one, each from the few before it in the tile; changes speed only."""

MAX_KERNEL_COLUMNS = 256
"""Wider blocks do not fit the registers of the GPU kernel."""


@dataclass(frozen=True)
class Swept:
    """What became of a linear."""

    weight_OI: Tensor
    mask_OI: Tensor
    """True = removed."""
    squared_error: float
    """tr(D H D^T) = sum of all e^2, H as damped."""
    squared_change: float
    """Sum of all D^2."""


@dataclass(frozen=True)
class _Stack:
    """Linears with one input on top of each other."""

    patterns: Sequence[Pattern]
    rows: Sequence[slice]
    group_size: int
    """m of N:M, which all must share; 1 otherwise."""

    def mask(self, score_BO: Tensor, choose: Callable[[Tensor, Pattern], Tensor]) -> Tensor:
        """What `choose` makes of each linear's scores O x B; B x O."""
        masks = [choose(score_BO[:, rows].T, pattern).T for rows, pattern in zip(self.rows, self.patterns, strict=True)]
        return torch.cat(masks, dim=1)

    def whole_groups(self, size: int) -> int:
        """The largest multiple of the group size that is at most `size`, and at least one group."""
        return max(size // self.group_size, 1) * self.group_size


def sweep(weights: Sequence[Tensor], patterns: Sequence[Pattern], root_II: Tensor, block_size: int) -> list[Swept]:
    """Pruned and corrected weights of linears that share their inputs; `weights` (each O x I) are left as they are.

    `patterns` has one for each linear: all unstructured, or all N:M with one M. `root_II` is R, in the weights' type.
    """
    stack = _stack(weights, patterns)
    start_IO = torch.cat(list(weights)).T.contiguous()
    new_IO, change_IO = start_IO.clone(), torch.zeros_like(start_IO)
    mask_IO = torch.zeros_like(start_IO, dtype=torch.bool)
    error_O = torch.zeros_like(start_IO[0])
    for start in range(0, len(start_IO), step := stack.whole_groups(block_size)):
        block = slice(start, min(start + step, len(start_IO)))
        inverse_BB = _inverse(root_II[block, block])
        if start:
            owed_BO = root_II[:start, block].T @ change_IO[:start]
            new_IO[block].addmm_(inverse_BB.T, owed_BO, alpha=-1)
        error_BO = _sweep_block(new_IO[block], mask_IO[block], inverse_BB, stack, start)
        new_IO[block].mul_(~mask_IO[block])
        torch.sub(new_IO[block], start_IO[block], out=change_IO[block])
        error_O += error_BO.square_().sum(dim=0)
    change_O = change_IO.square_().sum(dim=0)
    new_OI, mask_OI = new_IO.add_(0).T.contiguous(), mask_IO.T.contiguous()  # adding 0 makes 0 of -0
    return [
        Swept(
            new_OI[rows],
            mask_OI[rows],
            float(error_O[rows].sum()),
            float(change_O[rows].sum()),
        )
        for rows in stack.rows
    ]


def _sweep_block(weight_BO: Tensor, mask_BO: Tensor, inverse_BB: Tensor, stack: _Stack, first: int) -> Tensor:
    """Correct a block in place, fill in its mask, and return the errors e of its columns, B x O; `first` is its place."""

    def lowest(score_OB: Tensor, pattern: Pattern) -> Tensor:
        assert not isinstance(pattern, NM)
        num_outputs, stop = len(score_OB), first + len(weight_BO)
        num = pattern.num_removed(stop * num_outputs) - pattern.num_removed(first * num_outputs)
        return lowest_in_matrix(score_OB, num)

    if stack.group_size == 1:
        mask_BO.copy_(stack.mask(_scores(weight_BO, inverse_BB), lowest))
    if sweeps_on_triton(weight_BO, stack):
        return _sweep_on_triton(weight_BO, mask_BO, inverse_BB, stack)
    error_BO = torch.empty_like(weight_BO)
    for start in range(0, len(weight_BO), step := stack.whole_groups(TILE_SIZE)):
        tile = slice(start, start + step)
        if start:
            weight_BO[tile].addmm_(inverse_BB[:start, tile].T, error_BO[:start], alpha=-1)
        _sweep_tile(weight_BO[tile], mask_BO[tile], inverse_BB[tile, tile], error_BO[tile], stack)
    return error_BO


def sweeps_on_triton(weight_BO: Tensor, stack: _Stack) -> bool:
    """Whether a block is swept by the kernel of prune/methods/triton_sweep.py: on CUDA, where Triton comes with torch."""
    if not weight_BO.is_cuda or importlib.util.find_spec("triton") is None:
        return False
    from prune.methods.triton_sweep import fits_groups

    return fits_groups(stack.group_size) and len(weight_BO) <= MAX_KERNEL_COLUMNS


def _sweep_on_triton(weight_BO: Tensor, mask_BO: Tensor, inverse_BB: Tensor, stack: _Stack) -> Tensor:
    from prune.methods.triton_sweep import sweep_columns, sweep_groups

    if stack.group_size == 1:
        return sweep_columns(weight_BO, mask_BO, inverse_BB)
    num_O = torch.empty(weight_BO.shape[1], dtype=torch.int32, device=weight_BO.device)
    for rows, pattern in zip(stack.rows, stack.patterns, strict=True):
        assert isinstance(pattern, NM)
        num_O[rows] = pattern.n
    return sweep_groups(weight_BO, mask_BO, inverse_BB, num_O, stack.group_size)


def _sweep_tile(weight_CO: Tensor, mask_CO: Tensor, inverse_CC: Tensor, error_CO: Tensor, stack: _Stack) -> None:
    """Correct a tile in place column by column, fill in its mask for N:M, and write the errors e of its columns."""

    def lowest(score_OM: Tensor, pattern: Pattern) -> Tensor:
        assert isinstance(pattern, NM)
        return lowest_in_groups(score_OM, pattern)

    reciprocal_C = inverse_CC.diagonal().reciprocal()
    scale_CO = mask_CO * reciprocal_C[:, None]
    first, error_OC, inverse_of = 0, error_CO.T, inverse_CC.T.unbind()
    columns = zip(weight_CO.unbind(), error_CO.unbind(), scale_CO.unbind(), strict=True)
    for column, (weight_O, error_O, scale_O) in enumerate(columns):
        if stack.group_size > 1 and column % stack.group_size == 0:
            first, group = column, slice(column, column + stack.group_size)
            if first:
                weight_CO[group].addmm_(inverse_CC[:first, group].T, error_CO[:first], alpha=-1)
            mask_CO[group] = stack.mask(_scores(weight_CO[group], inverse_CC[group, group]), lowest)
            scale_CO[group] = mask_CO[group] * reciprocal_C[group, None]
        if num := column - first:
            weight_O.addmv_(error_OC.narrow(1, first, num), inverse_of[column].narrow(0, first, num), alpha=-1)
        torch.mul(weight_O, scale_O, out=error_O)


def _stack(weights: Sequence[Tensor], patterns: Sequence[Pattern]) -> _Stack:
    sizes = {pattern.m if isinstance(pattern, NM) else 1 for pattern in patterns}
    assert len(sizes) == 1, f"patterns that are not swept together: {patterns}"
    rows, start = [], 0
    for weight_OI in weights:
        rows.append(slice(start, start + len(weight_OI)))
        start += len(weight_OI)
    return _Stack(patterns, rows, sizes.pop())


def _scores(weight_BO: Tensor, inverse_BB: Tensor) -> Tensor:
    return (weight_BO / inverse_BB.diagonal()[:, None]).square_()


def _inverse(root_BB: Tensor) -> Tensor:
    identity_BB = torch.eye(len(root_BB), dtype=root_BB.dtype, device=root_BB.device)
    inverse_BB: Tensor = torch.linalg.solve_triangular(root_BB, identity_BB, upper=True)
    return inverse_BB
