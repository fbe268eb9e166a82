"""What every pruning method offers to the walk over the blocks.

Shapes: O out, I in, T tokens. In every mask True = removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from prune.errors import UserError
from prune.lazy import torch
from prune.pruning.sparsity import Pattern

if TYPE_CHECKING:
    from torch import Tensor


class Statistic(Protocol):
    """What a method keeps of the inputs of a linear; linears with one and the same input may share one."""

    def add(self, x_TI: Tensor, weight_T: Tensor | None = None) -> None:
        """Take in the inputs of some tokens, in any float type; sums are float32, or float64 when `x_TI` is.

        `weight_T` (float32, above 0) is what each token counts; None: each counts 1.
        """


@runtime_checkable
class Keepable(Statistic, Protocol):
    """A statistic that can wait, in host memory, for other cells that need it."""

    @property
    def num_bytes(self) -> int:
        """Its size in memory, including what is computed from it once for all linears that share it."""

    def move(self, device: torch.device) -> None:
        """Bring it to a device; it stays bit for bit the same."""


class StartsStatistic(Protocol):
    """The part of a method that the walk needs."""

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """See `Method.start_statistic`."""


class NoStatistic:
    """The statistic of a method that does not look at inputs."""

    def add(self, x_TI: Tensor, weight_T: Tensor | None = None) -> None:
        """Ignore them."""


def statistic_bytes(method: StartsStatistic, num_inputs: int, dtype: torch.dtype) -> int:
    """The bytes of a linear's statistic for inputs of a type; 0 where it does not say."""
    statistic = method.start_statistic(num_inputs, torch.device("meta"))
    wide = torch.promote_types(dtype, torch.float32).itemsize // torch.float32.itemsize
    return wide * statistic.num_bytes if isinstance(statistic, Keepable) else 0


def fewest_tokens(statistic: Statistic) -> int:
    """How many tokens a statistic must have seen to be of use: its own `min_tokens`, or 1."""
    return int(getattr(statistic, "min_tokens", 1))


@dataclass(frozen=True)
class Pruned:
    """A pruned linear."""

    weight_OI: Tensor
    """New weights, in the type of the old ones; exactly 0 wherever the mask is True."""
    mask_OI: Tensor
    """Bool, True = removed: the method's decision, of the asked count. A kept weight may also be 0, as it was before."""
    error: float | None
    """The method's own estimate of the squared output error, relative to the squared output; None without a statistic."""
    num_ties: int | None = None
    """Removed weights (other than 0) with the score of a kept one that they were compared with; None: not counted."""


class Method(Protocol):
    """A way to choose which weights are removed, and what happens to the others."""

    @property
    def name(self) -> str:
        """Its name on the `method` axis."""

    @property
    def needs_inputs(self) -> bool:
        """Whether it needs statistics, and so a calibration set."""

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """An empty statistic for a linear with `num_inputs` inputs."""

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """The pruned weights; neither the weight nor the statistic is modified.

        Raises:
            UserError: the pattern does not fit, or weights or statistics are unusable. It does not name the linear.
        """


@runtime_checkable
class PrunesGroups(Protocol):
    """A method that prunes linears with the same inputs faster together than one after the other."""

    def prune_group(
        self, weights: Mapping[str, Tensor], statistic: Statistic | None, patterns: Sequence[Pattern]
    ) -> list[Pruned]:
        """As `Method.prune` of each; patterns are all unstructured, or all N:M with one M.

        `weights` are by name: a name stands for one dense linear, as long as the statistic lives.

        Raises:
            UserError: see `Method.prune`.
        """


def masked(weight_OI: Tensor, mask_OI: Tensor, error: float | None = None, num_ties: int | None = None) -> Pruned:
    """The weights without the masked ones, the others untouched."""
    return Pruned(weight_OI=without(weight_OI, mask_OI), mask_OI=mask_OI, error=error, num_ties=num_ties)


def without(weight_OI: Tensor, mask_OI: Tensor) -> Tensor:
    """The weights (finite) with 0 where the mask is True: a product, four times as fast on the CPU as masked_fill.

    Adding 0 makes 0 of -0.
    """
    return (weight_OI * ~mask_OI).add_(0)


def finite_weight(weight_OI: Tensor) -> Tensor:
    """The weights without gradient, in float32 (float64 stays float64).

    Raises:
        UserError: some are infinite or not a number.
    """
    weight_OI = weight_OI.detach().to(torch.promote_types(weight_OI.dtype, torch.float32))
    num_bad = 0 if all_finite(weight_OI) else weight_OI.numel() - int(weight_OI.isfinite().sum())
    if num_bad:
        raise UserError(
            f"{num_bad} of {weight_OI.numel()} weights are infinite or not a number before pruning: "
            "the model is damaged; load it again, or in another type (model.dtype=float32)."
        )
    return weight_OI


def all_finite(x: Tensor) -> bool:
    """Whether no element is infinite or not a number.

    A finite sum shows it in one pass over memory; only where the sum is not finite (it may just be too large) all are looked
    at, which takes many.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    return bool(x.sum(dtype=wide).isfinite()) or bool(x.isfinite().all())


def weighted(x_TI: Tensor, weight_T: Tensor | None) -> tuple[Tensor, float]:
    """(inputs whose products x_ti x_tj sum to the weighted ones, the sum of the weights): each x_t times the root of w_t.

    In float32 (float64 stays float64). Without weights the inputs stay as they are, and each counts 1.
    """
    if weight_T is None:
        return x_TI, len(x_TI)
    wide_TI = x_TI.to(torch.promote_types(x_TI.dtype, torch.float32))
    return wide_TI * weight_T.to(wide_TI.dtype).sqrt()[:, None], float(weight_T.sum(dtype=torch.float64))


def check_statistic(total: Tensor, total_weight: float) -> None:
    """Make sure that sums over inputs can be used.

    Raises:
        UserError: no token counted, or a sum is infinite or not a number.
    """
    if total_weight == 0:
        raise UserError(
            "no real token of the calibration set reached this linear; give it more samples (calib.num_samples)."
        )
    if not all_finite(total):
        raise UserError(
            "the calibration inputs of this linear are infinite or not a number: "
            "activations overflowed; load the model in a wider type (model.dtype=bfloat16 or float32)."
        )
