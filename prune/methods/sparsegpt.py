"""SparseGPT (Frantar & Alistarh 2023, arXiv 2301.00774): prune column by column and let the later columns make up for it.

Shapes: O out, I in, T tokens, B columns of a block, C columns of a tile in it. Weights are worked on transposed (I x O), so
that a column of the paper lies in one piece of memory.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from prune.errors import UserError
from prune.methods.method import Pruned, Statistic, check_statistic, finite_weight
from prune.sparsity import NM, Pattern, lowest_in_groups, lowest_in_matrix

TILE_SIZE = 16
"""Columns that are swept one by one before the rest of their block is updated at once; changes speed only."""


class Hessian:
    """H = 2/T X^T X of the inputs, and the factor that the sweep needs, computed once for all linears that share it."""

    def __init__(self, num_inputs: int, device: torch.device) -> None:
        self.num_tokens = 0
        self.total_II = torch.zeros(num_inputs, num_inputs, dtype=torch.float32, device=device)
        self._factor: tuple[float, Tensor] | None = None

    def add(self, x_TI: Tensor) -> None:
        """Add the products of these tokens' inputs."""
        dtype = torch.promote_types(x_TI.dtype, self.total_II.dtype)
        x_TI = x_TI.detach().to(dtype)
        self.total_II = self.total_II.to(dtype).addmm_(x_TI.T, x_TI)
        self.num_tokens += x_TI.shape[0]
        self._factor = None

    def hessian(self) -> Tensor:
        """H, undamped.

        Raises:
            UserError: no token was seen, or a product is not finite.
        """
        check_statistic(self.total_II, self.num_tokens)
        return self.total_II * (2 / self.num_tokens)

    def dead_inputs(self) -> Tensor:
        """Bool, True for inputs that were 0 in every token."""
        return self.total_II.diagonal() == 0

    def factor(self, damping: float) -> Tensor:
        """The factor U of `inverse_factor`, of H with 1 on the diagonal of dead inputs and then the damping on all of it.

        Raises:
            UserError: see `hessian` and `inverse_factor`.
        """
        if self._factor is None or self._factor[0] != damping:
            hessian_II = self.hessian()
            diagonal_I = hessian_II.diagonal()
            diagonal_I.masked_fill_(self.dead_inputs(), 1)
            diagonal_I.add_(damping * diagonal_I.mean())
            self._factor = damping, inverse_factor(hessian_II, damping)
        return self._factor[1]


def inverse_factor(hessian_II: Tensor, damping: float) -> Tensor:
    """The upper triangular U with positive diagonal and U^T U = H^-1, I x I.

    H = R R^T with R upper triangular, by the Cholesky decomposition of H with both its axes reversed; U is R^-1. This is the
    factor that the reference gets from inverting H and decomposing the inverse, with one decomposition instead of two and
    no rounding of H^-1 between them. `damping` is what H already contains, for the message only.

    Raises:
        UserError: H is not positive definite to working precision, that is, a squared pivot is not positive or no more
            than the rounding error of its diagonal element.
    """
    lower_II, failed_column = torch.linalg.cholesky_ex(hessian_II.flip(0, 1))
    root_II = lower_II.flip(0, 1)
    lost_I = root_II.diagonal().square() <= torch.finfo(root_II.dtype).eps * hessian_II.diagonal()
    if bool(failed_column > 0) or bool(lost_I.any()):
        raise UserError(
            f"the Hessian of this linear's inputs is singular with method.damping={damping:g}: its Cholesky decomposition "
            f"fails. Damp it more (method.damping={_more(damping):g}), or give it more tokens (calib.num_samples)."
        )
    identity_II = torch.eye(len(root_II), dtype=root_II.dtype, device=root_II.device)
    inverse_II: Tensor = torch.linalg.solve_triangular(root_II, identity_II, upper=True)
    return inverse_II


@dataclass(frozen=True)
class SparseGPT:
    """Score W_ij^2 / U_jj^2, on weights that already make up for the columns before.

    Unstructured: one threshold for all rows of a block of `block_size` columns. N:M: the N lowest of each group, scored when
    the sweep reaches the group. Dead inputs are handled as in the reference (IST-DASLab/sparsegpt, sparsegpt.py): their
    weights are 0 before scoring, so that they go first, and stay 0 where more are dead than may go.

    Differences from the reference. It removes every score <= sort(scores)[int(O * B * ratio)] of a block, so at least one
    weight more; here the count is exact, and the lower index (row by row) goes first. Where O * B * ratio is not whole,
    counts are rounded on the running total, so that the matrix loses exactly int(O * I * ratio). Groups of N:M never
    straddle two blocks: a block is shortened to whole groups, which changes no result, as blocks only postpone updates.
    """

    damping: float = 0.01
    """Added to the diagonal of H, as a share of its mean."""
    block_size: int = 128
    """Columns that share one threshold."""
    name: ClassVar[str] = "sparsegpt"
    needs_inputs: ClassVar[bool] = True

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """No tokens yet."""
        return Hessian(num_inputs, device)

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """The weights without the removed ones, the others corrected.

        Solved in float32 (float64 where weights or inputs are) and rounded to the weights' type at the end. The error is
        tr(D H D^T) / tr(W H W^T), D = new - old weights: the calibration tokens' own, after rounding.

        Raises:
            UserError: see `Method.prune`; also, H is singular, or a corrected weight overflows the weights' type.
        """
        assert isinstance(statistic, Hessian), type(statistic)
        if isinstance(pattern, NM):
            pattern.check(weight_OI.shape[1], "the linear")
        old_OI = finite_weight(weight_OI)
        factor_II = statistic.factor(self.damping)
        old_OI, factor_II = _same_type(old_OI, factor_II)
        start_OI = old_OI.masked_fill(statistic.dead_inputs(), 0)
        solved_OI, mask_OI = sweep(start_OI, factor_II, pattern, self.block_size)
        new_OI = solved_OI.to(weight_OI.dtype)
        if not bool(new_OI.isfinite().all()):
            raise UserError(
                f"corrected weights overflow {weight_OI.dtype} with method.damping={self.damping:g}: damp more "
                f"(method.damping={_more(self.damping):g}) or load the model in a wider type (model.dtype=float32)."
            )
        return Pruned(new_OI, mask_OI, error=_relative_error(old_OI, new_OI, statistic.hessian()))


def sweep(weight_OI: Tensor, factor_II: Tensor, pattern: Pattern, block_size: int) -> tuple[Tensor, Tensor]:
    """Pruned and corrected weights O x I and their mask O x I; `weight_OI` is left as it is.

    Column j, in order: e = the removed weights / U_jj; every later column k loses e * U_jk. Inside a tile that happens at
    once; the rest of the block follows after the tile, and the rest of the matrix after the block.
    """
    weight_IO = weight_OI.T.clone(memory_format=torch.contiguous_format)
    mask_IO = torch.zeros_like(weight_IO, dtype=torch.bool)
    num_inputs, num_outputs = weight_IO.shape
    group_size = pattern.m if isinstance(pattern, NM) else 1
    for start in range(0, num_inputs, step := _whole_groups(block_size, group_size)):
        stop = min(start + step, num_inputs)
        block = slice(start, stop)
        if not isinstance(pattern, NM):
            num = pattern.num_removed(stop * num_outputs) - pattern.num_removed(start * num_outputs)
            mask_IO[block] = lowest_in_matrix(_scores(weight_IO[block], factor_II[block, block]), num).T
        error_BO = _sweep_block(weight_IO[block], mask_IO[block], factor_II[block, block], pattern)
        weight_IO[stop:].addmm_(factor_II[block, stop:].T, error_BO, alpha=-1)
    return weight_IO.masked_fill_(mask_IO, 0).T.contiguous(), mask_IO.T.contiguous()


def _sweep_block(weight_BO: Tensor, mask_BO: Tensor, factor_BB: Tensor, pattern: Pattern) -> Tensor:
    """Correct a block in place, fill in its mask for N:M, and return the errors e of its columns, B x O."""
    error_BO = torch.empty_like(weight_BO)
    num_columns = len(weight_BO)
    group_size = pattern.m if isinstance(pattern, NM) else 1
    for start in range(0, num_columns, step := _whole_groups(TILE_SIZE, group_size)):
        stop = min(start + step, num_columns)
        tile = slice(start, stop)
        _sweep_tile(weight_BO[tile], mask_BO[tile], factor_BB[tile, tile], error_BO[tile], pattern)
        weight_BO[stop:].addmm_(factor_BB[tile, stop:].T, error_BO[tile], alpha=-1)
    return error_BO


def _sweep_tile(weight_CO: Tensor, mask_CO: Tensor, factor_CC: Tensor, error_CO: Tensor, pattern: Pattern) -> None:
    """Correct a tile in place column by column, fill in its mask for N:M, and write the errors e of its columns."""
    for column in range(len(weight_CO)):
        if isinstance(pattern, NM) and column % pattern.m == 0:
            group = slice(column, column + pattern.m)
            mask_CO[group] = lowest_in_groups(_scores(weight_CO[group], factor_CC[group, group]), pattern).T
        torch.mul(weight_CO[column], mask_CO[column], out=error_CO[column])
        error_CO[column] /= factor_CC[column, column]
        weight_CO[column + 1 :].addr_(factor_CC[column, column + 1 :], error_CO[column], alpha=-1)


def _scores(weight_BO: Tensor, factor_BB: Tensor) -> Tensor:
    return (weight_BO / factor_BB.diagonal()[:, None]).square().T


def _whole_groups(size: int, group_size: int) -> int:
    """The largest multiple of `group_size` that is at most `size`, and at least one group."""
    return max(size // group_size, 1) * group_size


def _more(damping: float) -> float:
    return max(10 * damping, 0.01)


def _same_type(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(left.dtype, right.dtype)
    return left.to(dtype), right.to(dtype)


def _relative_error(old_OI: Tensor, new_OI: Tensor, hessian_II: Tensor) -> float:
    old_OI, hessian_II = _same_type(old_OI, hessian_II)
    total = _squared_output(old_OI, hessian_II)
    return _squared_output(new_OI.to(old_OI.dtype) - old_OI, hessian_II) / total if total else 0.0


def _squared_output(weight_OI: Tensor, hessian_II: Tensor) -> float:
    """tr(W H W^T)."""
    return float(((weight_OI @ hessian_II) * weight_OI).sum())
