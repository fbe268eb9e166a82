"""The column sweep of SparseGPT (Frantar & Alistarh 2023, arXiv 2301.00774, algorithm 1), in three levels of column blocks.

The paper, with U = R^-1 and H = R R^T: for each column j in order, e_j = w_j / U_jj where w_j goes and 0 where it stays, and
every later column k loses e_j U_jk. Here a column takes in what it owes to the earlier ones only when its turn comes, from
few large products: from all earlier blocks, then from the earlier tiles of its block, then from the columns of its tile. The
order of the sums changes, the result does not.

What a block owes to earlier blocks needs no inverse of R. With D = new - old weights and E of columns e_j, D R = -E, so the
earlier blocks A change the weights of a block B by -D_A R_AB (R_BB)^-1. Only the small blocks on the diagonal of R are
inverted; the inverse of such a block is the diagonal block of the inverse (prune/pruning/solver/hessian.py, `in_blocks`).

Rows (outputs) never meet: linears with the same inputs are stacked and swept together, each with a threshold of its own.

Shapes: O out, of all linears together; I in; B columns of a block; C columns of a tile in it. Blocks are worked on
transposed (B x O), so that a column of the paper lies in one piece of memory.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from prune.lazy import torch
from prune.pruning.sparsity import NM, Pattern, Unstructured, lowest_in_groups, lowest_in_matrix

if TYPE_CHECKING:
    from torch import Tensor


TILE_SIZE = 32
"""Columns that are swept one by one, each from the few before it in the tile; changes speed only."""

MAX_KERNEL_COLUMNS = 256
"""Wider blocks do not fit the registers of the GPU kernel."""


@dataclass(frozen=True)
class Swept:
    """A linear after the sweep over its columns."""

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
    zeros: Sequence[Tensor | None]
    """O x I of each, True where a weight must stay 0."""
    rows: Sequence[slice]
    group_size: int
    """m of N:M, which all must share; 1 otherwise."""

    @property
    def num_outputs(self) -> int:
        """Of all linears."""
        return int(self.rows[-1].stop)

    @property
    def tile_size(self) -> int:
        """A group, whose mask is chosen when its turn comes, or as many columns as are fast."""
        return self.group_size if self.group_size > 1 else TILE_SIZE

    @property
    def keeps_zeros(self) -> bool:
        """Whether weights of some linear must stay 0."""
        return any(zero_OI is not None for zero_OI in self.zeros)

    def mask(self, score_BO: Tensor, columns: slice, choose: Callable[[Tensor, Pattern, Tensor | None], Tensor]) -> Tensor:
        """What `choose` makes of each linear's scores O x B, its pattern and its zeros to keep; these are added. B x O."""
        masks = []
        for rows, pattern, zero_OI in zip(self.rows, self.patterns, self.zeros, strict=True):
            score_OB = score_BO[:, rows].T
            if zero_OI is None:
                masks.append(choose(score_OB, pattern, None).T)
            else:
                zero_OB = zero_OI[:, columns]
                masks.append((choose(score_OB.masked_fill(zero_OB, -1), pattern, zero_OI) | zero_OB).T)
        return torch.cat(masks, dim=1)


@dataclass(frozen=True)
class _Columns:
    """Views of a tile of a block, or of one column of a tile, and of the E columns that were swept before in either."""

    weight_CO: Tensor
    scale_CO: Tensor
    """1 / U_jj where a weight goes, 0 where it stays."""
    error_CO: Tensor
    factor_CE: Tensor
    """U_ej."""
    error_EO: Tensor

    def take_in(self) -> None:
        """Correct the weights for the columns before."""
        self.weight_CO.addmm_(self.factor_CE, self.error_EO, alpha=-1)


class _Room:
    """Memory of one column block after the other, with the views that its sweep needs: to make a view takes longer than to
    compute with it."""

    def __init__(self, num_columns: int, stack: _Stack, like: Tensor) -> None:
        self.weight_BO, self.scale_BO, self.error_BO = like.new_empty(3, num_columns, stack.num_outputs)
        self.factor_BB = like.new_empty(num_columns, num_columns)
        """U transposed."""
        self._tile_size = stack.tile_size

    @cached_property
    def tiles(self) -> list[tuple[slice, _Columns, list[_Columns]]]:
        """Each with its place and its columns."""
        tiles = [slice(start, start + self._tile_size) for start in range(0, len(self.weight_BO), self._tile_size)]
        return [
            (
                tile,
                self._columns(tile, 0),
                [self._columns(slice(j, j + 1), tile.start) for j in range(*tile.indices(len(self.weight_BO)))],
            )
            for tile in tiles
        ]

    def _columns(self, columns: slice, first: int) -> _Columns:
        before = slice(first, columns.start)
        return _Columns(
            self.weight_BO[columns],
            self.scale_BO[columns],
            self.error_BO[columns],
            self.factor_BB[columns, before],
            self.error_BO[before],
        )


def whole_groups(patterns: Sequence[Pattern], block_size: int) -> int:
    """The most columns that are at most `block_size` and whole groups of the patterns, and at least one group."""
    group_size = _group_size(patterns)
    return max(block_size // group_size, 1) * group_size


def column_sweep(
    weights: Sequence[Tensor],
    patterns: Sequence[Pattern],
    blocks_II: Tensor,
    block_size: int,
    zeros: Sequence[Tensor | None] | None = None,
) -> list[Swept]:
    """Pruned and corrected weights of linears that share their inputs; `weights` (each O x I) are left as they are.

    `zeros` (each O x I or None) are weights that go whatever their score; see `prune.pruning.sparsity.zeros_to_keep`.

    `patterns` has one for each linear: all unstructured, or all N:M with one M. `blocks_II` is R in blocks of `block_size`
    (see `in_blocks`; of `whole_groups`), in the weights' type.
    """
    stack = _stack(weights, patterns, zeros or [None] * len(weights))
    assert block_size % stack.group_size == 0, (block_size, stack.group_size)
    new = [torch.empty_like(weight_OI) for weight_OI in weights]
    masks = [torch.empty_like(weight_OI, dtype=torch.bool) for weight_OI in weights]
    change_IO = blocks_II.new_empty(len(blocks_II), stack.num_outputs)
    squared_error_O, squared_change_O = blocks_II.new_zeros(2, stack.num_outputs)
    room = _Room(min(block_size, len(blocks_II)), stack, blocks_II)
    for start in range(0, len(blocks_II), block_size):
        block = slice(start, min(start + block_size, len(blocks_II)))
        if block.stop - start < len(room.weight_BO):
            room = _Room(block.stop - start, stack, blocks_II)
        start_BO = torch.cat([weight_OI[:, block] for weight_OI in weights]).T.contiguous()
        weight_BO = torch.addmm(start_BO, blocks_II[:start, block].T, change_IO[:start], alpha=-1, out=room.weight_BO)
        mask_BO, error_BO = _sweep_block(room, blocks_II[block, block], stack, start)
        weight_BO.mul_(~mask_BO).add_(0)  # adding 0 makes 0 of -0
        squared_error_O += error_BO.square().sum(dim=0)
        squared_change_O += torch.sub(weight_BO, start_BO, out=change_IO[block]).square().sum(dim=0)
        weight_OB, mask_OB = weight_BO.T.contiguous(), mask_BO.T.contiguous()
        for rows, new_OI, mask_OI in zip(stack.rows, new, masks, strict=True):
            new_OI[:, block], mask_OI[:, block] = weight_OB[rows], mask_OB[rows]
    return [
        Swept(new_OI, mask_OI, float(squared_error_O[rows].sum()), float(squared_change_O[rows].sum()))
        for new_OI, mask_OI, rows in zip(new, masks, stack.rows, strict=True)
    ]


def _sweep_block(room: _Room, inverse_BB: Tensor, stack: _Stack, first: int) -> tuple[Tensor, Tensor]:
    """Correct the block in the room in place; its mask and the errors e, both B x O. `first` is its place in the matrix."""
    if stack.group_size > 1:
        mask_BO = torch.empty_like(room.weight_BO, dtype=torch.bool)
    else:
        mask_BO = _lowest_of_block(room.weight_BO, inverse_BB, stack, first)
    if sweeps_on_triton(room.weight_BO, stack):
        return mask_BO, _sweep_on_triton(room.weight_BO, mask_BO, inverse_BB, stack)
    room.factor_BB.copy_(inverse_BB.T)
    reciprocal_B1 = inverse_BB.diagonal().reciprocal()[:, None]
    if stack.group_size == 1:
        torch.mul(mask_BO, reciprocal_B1, out=room.scale_BO)
    for place, tile, columns in room.tiles:
        tile.take_in()
        if stack.group_size > 1:
            columns_of_tile = slice(first + place.start, first + min(place.stop, len(mask_BO)))
            mask_BO[place] = _lowest_of_group(tile.weight_CO, inverse_BB[place, place], stack, columns_of_tile)
            torch.mul(mask_BO[place], reciprocal_B1[place], out=tile.scale_CO)
        for column in columns:
            column.take_in()
            torch.mul(column.weight_CO, column.scale_CO, out=column.error_CO)
    return mask_BO, room.error_BO


def _lowest_of_block(weight_BO: Tensor, inverse_BB: Tensor, stack: _Stack, first: int) -> Tensor:
    """The mask of an unstructured block."""
    block = slice(first, first + len(weight_BO))

    def lowest(score_OB: Tensor, pattern: Pattern, zero_OI: Tensor | None) -> Tensor:
        assert not isinstance(pattern, NM)
        if zero_OI is not None:
            return lowest_in_matrix(score_OB, num_beside_zeros(pattern, zero_OI, block))
        num = pattern.num_removed(block.stop * len(score_OB)) - pattern.num_removed(first * len(score_OB))
        return lowest_in_matrix(score_OB, num)

    return stack.mask(_scores(weight_BO, inverse_BB), block, lowest)


def num_beside_zeros(pattern: Unstructured, zero_OI: Tensor, block: slice) -> int:
    """How many go in a block of columns whose zeros all go: these, and its share of the others.

    Of all blocks together the pattern's count, or all zeros where they are more.
    """
    num_zero = int(zero_OI.count_nonzero())
    num_more, num_others = max(pattern.num_removed(zero_OI.numel()) - num_zero, 0), zero_OI.numel() - num_zero

    def going_to(end: int) -> int:
        """Of the columns before `end`."""
        zeros = int(zero_OI[:, :end].count_nonzero())
        return zeros + num_more * (len(zero_OI) * end - zeros) // max(num_others, 1)

    return going_to(block.stop) - going_to(block.start)


def _lowest_of_group(weight_MO: Tensor, inverse_MM: Tensor, stack: _Stack, group: slice) -> Tensor:
    """The mask of one N:M group of columns."""

    def lowest(score_OM: Tensor, pattern: Pattern, zero_OI: Tensor | None) -> Tensor:
        assert isinstance(pattern, NM)
        return lowest_in_groups(score_OM, pattern)

    return stack.mask(_scores(weight_MO, inverse_MM), group, lowest)


def sweeps_on_triton(weight_BO: Tensor, stack: _Stack) -> bool:
    """Whether a block is swept by the kernel of column_sweep_triton.py: on CUDA, where Triton comes with torch."""
    chooses_in_kernel = stack.group_size > 1
    if not weight_BO.is_cuda or (chooses_in_kernel and stack.keeps_zeros) or importlib.util.find_spec("triton") is None:
        return False
    from prune.pruning.solver.column_sweep_triton import fits_groups

    return fits_groups(stack.group_size) and len(weight_BO) <= MAX_KERNEL_COLUMNS


def _sweep_on_triton(weight_BO: Tensor, mask_BO: Tensor, inverse_BB: Tensor, stack: _Stack) -> Tensor:
    from prune.pruning.solver.column_sweep_triton import sweep_columns, sweep_groups

    if stack.group_size == 1:
        return sweep_columns(weight_BO, mask_BO, inverse_BB)
    num_O = torch.empty(weight_BO.shape[1], dtype=torch.int32, device=weight_BO.device)
    for rows, pattern in zip(stack.rows, stack.patterns, strict=True):
        assert isinstance(pattern, NM)
        num_O[rows] = pattern.n
    return sweep_groups(weight_BO, mask_BO, inverse_BB, num_O, stack.group_size)


def _stack(weights: Sequence[Tensor], patterns: Sequence[Pattern], zeros: Sequence[Tensor | None]) -> _Stack:
    rows, start = [], 0
    for weight_OI in weights:
        rows.append(slice(start, start + len(weight_OI)))
        start += len(weight_OI)
    return _Stack(patterns, zeros, rows, _group_size(patterns))


def _group_size(patterns: Sequence[Pattern]) -> int:
    sizes = {pattern.group_size for pattern in patterns}
    assert len(sizes) == 1, f"patterns that are not swept together: {patterns}"
    return sizes.pop()


def _scores(weight_BO: Tensor, inverse_BB: Tensor) -> Tensor:
    return (weight_BO / inverse_BB.diagonal()[:, None]).square_()
