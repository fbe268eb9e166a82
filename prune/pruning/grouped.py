"""Pruning of a block's linears: those that share a statistic at once, where the method can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prune.errors import UserError
from prune.lazy import torch
from prune.pruning.measured import output_error
from prune.pruning.method import Method, Pruned, PrunesGroups, Statistic
from prune.pruning.sparsity import Pattern

if TYPE_CHECKING:
    from torch import Tensor


class GroupPruner:
    """Prunes the linears of a block one by one; linears that were pruned in the same call are kept until asked for."""

    def __init__(
        self,
        method: Method,
        weights: Mapping[str, Tensor],
        statistics: Mapping[str, Statistic],
        patterns: Mapping[str, Pattern],
    ) -> None:
        """Takes weights O x I, statistics (none for a method that needs no inputs) and patterns by the linears' names."""
        self._method, self._weights, self._statistics, self._patterns = method, weights, statistics, patterns
        self._waiting: dict[str, Pruned] = {}

    def prune(self, name: str, generator: torch.Generator) -> Pruned:
        """The pruned linear.

        Raises:
            UserError: see `Method.prune`. A fault of another linear is left to that one's turn.
        """
        if name not in self._waiting and isinstance(self._method, PrunesGroups):
            self._prune_group(self._method, [name, *self._partners(name)])
        if name in self._waiting:
            return self._waiting.pop(name)
        return self._method.prune(self._weights[name], self._statistics.get(name), self._patterns[name], generator)

    def output_error(self, name: str, final_OI: Tensor) -> float | None:
        """See `prune.pruning.solver.hessian.Hessian.output_error`; None without the Hessian. The linear is still dense."""
        return output_error(self._statistics.get(name), self._weights[name], final_OI, name)

    def _prune_group(self, method: PrunesGroups, names: list[str]) -> None:
        weights, patterns = {name: self._weights[name] for name in names}, [self._patterns[name] for name in names]
        try:
            pruned = method.prune_group(weights, self._statistics[names[0]], patterns)
        except UserError:
            return  # each alone, so that the one at fault is named
        self._waiting |= dict(zip(names, pruned, strict=True))

    def _partners(self, name: str) -> list[str]:
        """The other linears with the same statistic and the same kind of pattern."""
        return [
            other
            for other, pattern in self._patterns.items()
            if other != name
            and self._statistics[other] is self._statistics[name]
            and pattern.group_size == self._patterns[name].group_size
        ]
