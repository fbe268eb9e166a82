"""No pruning: the model to compare with."""

from __future__ import annotations

from dataclasses import dataclass

from prune.config.method import MethodConfig


@dataclass(kw_only=True, slots=True)
class DenseConfig(MethodConfig):
    """Removes nothing: the model to compare with."""

    name: str = "dense"
