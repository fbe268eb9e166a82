"""The Hessian of a linear's inputs, and its Cholesky factor: what SparseGPT keeps of the calibration set.

Shapes: I in, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from prune.errors import UserError
from prune.lazy import torch
from prune.pruning.method import check_statistic, weighted

if TYPE_CHECKING:
    from torch import Tensor


PANEL_SIZE = 256
"""Columns of X^T X that are computed at once on the CPU; changes speed only."""
WIDE_PANEL_SIZE = 1024
"""The same on a GPU, whose multiprocessors a narrow product would not fill."""
ROOT_PANEL_SIZE = 192
"""Columns of the Cholesky factor that are computed at once on the CPU; changes speed only."""


def products_flops(num_inputs: int, num_tokens: int) -> float:
    """What the upper triangle of X^T X costs, in operations."""
    return float(num_tokens * num_inputs**2)


def root_flops(num_inputs: int) -> float:
    """What a factor of H costs, in operations of float32; it is made in float64, so that they count twice."""
    return float(2 * num_inputs**3)


@dataclass(frozen=True)
class Factor:
    """The damped Hessian as R R^T, R upper triangular with a positive diagonal."""

    blocks_II: Tensor
    """R as the sweep takes it, see `in_blocks`."""
    damping: float
    """The value that was added to the diagonal of H before the decomposition."""


class Hessian:
    """H = 2 / sum_t w_t * sum_t w_t x_t x_t^T of the inputs, and the factor that the sweep needs, computed once for all
    linears that share it.

    H is symmetric, so only its upper triangle is accumulated, in panels of columns: little more than half of the products.
    """

    min_tokens: ClassVar[int] = 32
    """Of fewer tokens H has so low a rank that damping decides most of it; see `prune.pruning.method.fewest_tokens`."""

    def __init__(self, num_inputs: int, device: torch.device) -> None:
        self.total_weight: float = 0
        self._panels_II = torch.zeros(num_inputs, num_inputs, dtype=torch.float32, device=device)
        self._factor: tuple[tuple[float, int], Factor] | None = None
        self._dense_outputs: dict[str, float] = {}

    def add(self, x_TI: Tensor, weight_T: Tensor | None = None) -> None:
        """Add the products of these tokens' inputs."""
        x_TI, weight = weighted(x_TI.detach(), weight_T)
        self._panels_II = self._panels_II.to(torch.promote_types(x_TI.dtype, self._panels_II.dtype))
        if x_TI.device.type == "cpu" or x_TI.dtype not in (torch.float16, torch.bfloat16):
            x_TI = x_TI.to(self._panels_II.dtype)
        step = PANEL_SIZE if x_TI.device.type == "cpu" else WIDE_PANEL_SIZE
        for start in range(0, x_TI.shape[1], step):
            stop = start + step
            _add_products(self._panels_II[:stop, start:stop], x_TI[:, :stop], x_TI[:, start:stop])
        self.total_weight += weight
        self._factor = None
        self._dense_outputs = {}

    @property
    def num_bytes(self) -> int:
        """Its size in memory, including the factor."""
        return 2 * self._panels_II.nbytes

    def move(self, device: torch.device) -> None:
        """Bring it to a device, with the factor if there is one."""
        self._panels_II = self._panels_II.to(device)
        if self._factor is not None:
            asked, factor = self._factor
            self._factor = asked, replace(factor, blocks_II=factor.blocks_II.to(device))

    def hessian(self) -> Tensor:
        """H, undamped.

        Raises:
            UserError: no token counted, or a product is not finite.
        """
        check_statistic(self._panels_II, self.total_weight)
        upper_II = self._panels_II.triu() * (2 / self.total_weight)
        return upper_II.add_(upper_II.triu(1).T)

    def dead_inputs(self) -> Tensor:
        """Bool, True for inputs that were 0 in every token."""
        return self._panels_II.diagonal() == 0

    def factor(self, damping: float, block_size: int) -> Factor:
        """R, in such blocks, of H with 1 on the diagonal of dead inputs and then, on all of it, `damping` times its mean.

        Raises:
            UserError: see `hessian` and `cholesky_root`.
        """
        if self._factor is None or self._factor[0] != (damping, block_size):
            check_statistic(self._panels_II, self.total_weight)
            upper_II = self._panels_II * (2 / self.total_weight)
            diagonal_I = upper_II.diagonal()
            diagonal_I.masked_fill_(self.dead_inputs(), 1)
            added = damping * diagonal_I.mean()
            diagonal_I.add_(added)
            blocks_II = in_blocks(cholesky_root(upper_II, damping), block_size)
            self._factor = (damping, block_size), Factor(blocks_II, float(added))
        return self._factor[1]

    def dense_outputs(self, weights: Mapping[str, Tensor]) -> list[float]:
        """`squared_outputs` of dense linears by name, each computed once, however often the linear is pruned."""
        unknown = {name: weight_OI for name, weight_OI in weights.items() if name not in self._dense_outputs}
        self._dense_outputs |= zip(unknown, self.squared_outputs(list(unknown.values())), strict=True)
        return [self._dense_outputs[name] for name in weights]

    def squared_outputs(self, weights: Sequence[Tensor]) -> list[float]:
        """tr(W H W^T) of each, in the wider type of both; half of the products, as H is symmetric."""
        if not weights:
            return []
        stacked_OI = torch.cat(list(weights)).to(torch.promote_types(weights[0].dtype, self._panels_II.dtype))
        total_O = torch.zeros_like(stacked_OI[:, 0])
        for start in range(0, stacked_OI.shape[1], PANEL_SIZE):
            panel = slice(start, start + PANEL_SIZE)
            products_IP = self._panels_II[:, panel].to(stacked_OI.dtype)
            output_OP = stacked_OI[:, panel] @ products_IP[panel]
            if start:
                output_OP.addmm_(stacked_OI[:, :start], products_IP[:start], alpha=2)
            total_O += output_OP.mul_(stacked_OI[:, panel]).sum(dim=1)
        totals = torch.split(total_O, [len(weight_OI) for weight_OI in weights])
        return [float(total.sum()) * 2 / self.total_weight for total in totals]

    def output_error(self, dense_OI: Tensor, final_OI: Tensor, name: str | None = None) -> float:
        """tr(D H D^T) / tr(W H W^T), H undamped, D = final - dense weights: the squared error of the outputs over the
        calibration tokens, relative to the squared outputs; 0 where all outputs are 0.

        It costs half a product O x I x I, and as much for the outputs of the dense linear, once if it has a `name`.
        """
        wide = torch.promote_types(dense_OI.dtype, torch.float32)
        dense_OI = dense_OI.to(wide)
        total = (self.squared_outputs([dense_OI]) if name is None else self.dense_outputs({name: dense_OI}))[0]
        return max(self.squared_outputs([final_OI.to(wide) - dense_OI])[0], 0.0) / total if total else 0.0


def _add_products(total_IP: Tensor, x_TI: Tensor, x_TP: Tensor) -> None:
    """Add X^T X_P. float16 and bfloat16 stay what they are: their products are exact in float32, which sums them."""
    if x_TI.dtype == total_IP.dtype:
        total_IP.addmm_(x_TI.T, x_TP)
    else:
        total_IP.add_(torch.mm(x_TI.T, x_TP, out_dtype=total_IP.dtype))


def cholesky_root(upper_II: Tensor, damping: float) -> Tensor:
    """The upper triangular R with positive diagonal and R R^T = H, I x I; of H only the upper triangle is read.

    From the Cholesky decomposition of H with both its axes reversed, whose lower triangle is the upper one of H. The factor
    of H^-1 that the paper sweeps with is R^-1. Decomposed in float64 and rounded to H's type: a condition number of 10^5 is
    common, and float32 would lose more there than in all of the sweep. `damping` is what H already contains, as a share, for
    the message only.

    Raises:
        UserError: H is not positive definite to working precision, that is, a squared pivot is not positive or no more
            than the rounding error of its diagonal element.
    """
    root_II, is_failed = root_in_panels(upper_II) if upper_II.device.type == "cpu" else root_at_once(upper_II)
    lost_I = root_II.diagonal().square() <= torch.finfo(root_II.dtype).eps * upper_II.diagonal()
    if bool(is_failed) or bool(lost_I.any()):
        raise UserError(
            f"the Hessian of this linear's inputs is singular with method.damping={damping:g}: its Cholesky decomposition "
            f"fails. Damp it more (method.damping={more_damping(damping):g}), or give it more tokens (calib.num_samples)."
        )
    return root_II


def in_blocks(root_II: Tensor, block_size: int) -> Tensor:
    """What each block of columns needs to be swept, in place of R: on the diagonal (R_BB)^-1, above it R_AB (R_BB)^-1."""
    for start in range(0, len(root_II), block_size):
        block = slice(start, start + block_size)
        inverse_BB = inverse_of_upper(root_II[block, block])
        root_II[:start, block] = root_II[:start, block] @ inverse_BB
        root_II[block, block] = inverse_BB
    return root_II


def root_at_once(upper_II: Tensor) -> tuple[Tensor, Tensor]:
    """R, and whether there is none; for devices with a fast decomposition of their own."""
    lower_II, failed_column = torch.linalg.cholesky_ex(upper_II.flip(0, 1).double())
    return lower_II.to(upper_II.dtype).flip(0, 1), failed_column > 0


def root_in_panels(upper_II: Tensor) -> tuple[Tensor, Tensor]:
    """R, and whether there is none: in panels of columns, from the last to the first.

    A panel loses the products of the panels behind it; its block on the diagonal is decomposed; what stands above that block
    is solved with it.
    """
    root_II, is_failed = torch.zeros_like(upper_II), torch.zeros((), dtype=torch.bool, device=upper_II.device)
    behind: list[Tensor] = []
    for start in reversed(range(0, len(upper_II), ROOT_PANEL_SIZE)):
        panel = slice(start, min(start + ROOT_PANEL_SIZE, len(upper_II)))
        panel_IP = upper_II[: panel.stop, panel].to(torch.float64, copy=True)
        for behind_IP in behind:
            panel_IP.addmm_(behind_IP[: panel.stop], behind_IP[panel].T, alpha=-1)
        lower_PP, failed_column = torch.linalg.cholesky_ex(panel_IP[start:].flip(0, 1))
        is_failed |= failed_column > 0
        panel_IP[start:] = lower_PP.flip(0, 1)
        if start:
            panel_IP[:start] = panel_IP[:start] @ inverse_of_upper(panel_IP[start:]).T
        root_II[: panel.stop, panel] = panel_IP
        behind.append(panel_IP)
    return root_II, is_failed


def inverse_of_upper(root_BB: Tensor) -> Tensor:
    """The inverse of an upper triangular matrix, B x B."""
    identity_BB = torch.eye(len(root_BB), dtype=root_BB.dtype, device=root_BB.device)
    inverse_BB: Tensor = torch.linalg.solve_triangular(root_BB, identity_BB, upper=True)
    return inverse_BB


def more_damping(damping: float) -> float:
    """The damping to try where `damping` was not enough."""
    return max(10 * damping, 0.01)
