"""Pruning methods: one file each. A new one is its file, its configuration class, and its line in METHODS."""

from collections.abc import Callable
from dataclasses import fields

from prune.config import DenseConfig, MagnitudeConfig, MethodConfig, RandomConfig, RIAConfig, SparseGPTConfig, WandaConfig
from prune.methods.dense import Dense
from prune.methods.magnitude import Magnitude
from prune.methods.method import Method, Pruned, Statistic
from prune.methods.random import Random
from prune.methods.ria import RIA
from prune.methods.sparsegpt import SparseGPT
from prune.methods.wanda import Wanda

__all__ = ["METHODS", "Method", "Pruned", "Statistic", "build_method"]

METHODS: dict[type[MethodConfig], Callable[..., Method]] = {
    DenseConfig: Dense,
    MagnitudeConfig: Magnitude,
    RandomConfig: Random,
    WandaConfig: Wanda,
    RIAConfig: RIA,
    SparseGPTConfig: SparseGPT,
}
"""Configuration class -> method; the method has the fields of its configuration as parameters."""


def build_method(config: MethodConfig) -> Method:
    """The method that a configuration asks for."""
    shared = {field.name for field in fields(MethodConfig)}
    knobs = {field.name: getattr(config, field.name) for field in fields(config) if field.name not in shared}
    return METHODS[type(config)](**knobs)
