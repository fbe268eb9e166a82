"""The error of a pruned linear by one measure for all methods, and the Hessian that it takes where a method gathers none.

Shapes: O out, I in, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from prune.lazy import torch
from prune.pruning.method import Keepable, Method, NoStatistic, Pruned, Statistic, fewest_tokens
from prune.pruning.solver.hessian import Hessian
from prune.pruning.sparsity import Pattern

if TYPE_CHECKING:
    from torch import Tensor


def output_error(statistic: Statistic | None, dense_OI: Tensor, final_OI: Tensor, name: str) -> float | None:
    """`Hessian.output_error` of the linear `name`; None where the statistic has no Hessian."""
    hessian = statistic.hessian if isinstance(statistic, BesideHessian) else statistic
    return hessian.output_error(dense_OI, final_OI, name) if isinstance(hessian, Hessian) else None


@dataclass
class BesideHessian:
    """A method's own statistic, and the Hessian of the same inputs."""

    own: Keepable
    hessian: Hessian

    def add(self, x_TI: Tensor, weight_T: Tensor | None = None) -> None:
        """Give the inputs to both."""
        self.own.add(x_TI, weight_T)
        self.hessian.add(x_TI, weight_T)

    @property
    def min_tokens(self) -> int:
        """Those of the method's own, whose weights stay as they are without the Hessian."""
        return fewest_tokens(self.own)

    @property
    def num_bytes(self) -> int:
        """The size of both."""
        return self.own.num_bytes + self.hessian.num_bytes

    def move(self, device: torch.device) -> None:
        """Bring both to a device."""
        self.own.move(device)
        self.hessian.move(device)


@cache
def _beside(own: type[Statistic]) -> Callable[..., Statistic]:
    """A class for each class of statistic, as methods whose statistics are of one class share them."""
    kind: Any = type(f"{own.__name__}BesideHessian", (BesideHessian,), {})
    return kind  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Measured:
    """A method that gathers no Hessian, with one gathered beside its own statistic; it prunes as before."""

    method: Method
    needs_inputs: bool = True

    @property
    def name(self) -> str:
        """The method's."""
        return self.method.name

    @property
    def variant(self) -> bool:
        """Whether the method does not aim at a count (Wanda's variant)."""
        return bool(getattr(self.method, "variant", False))

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """The Hessian alone for a method that looks at no inputs, else both."""
        own, hessian = self.method.start_statistic(num_inputs, device), Hessian(num_inputs, device)
        return hessian if isinstance(own, NoStatistic) else _beside(type(own))(own, hessian)

    def prune(self, weight_OI: Tensor, statistic: Statistic | None, pattern: Pattern, generator: torch.Generator) -> Pruned:
        """As the method does."""
        own = statistic.own if isinstance(statistic, BesideHessian) else None
        return self.method.prune(weight_OI, own, pattern, generator)
