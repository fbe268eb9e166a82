"""Pruning methods: one file each. A new one is its file, its configuration class, and its line in METHODS."""

from collections.abc import Callable
from dataclasses import fields

from prune.config.method import MethodConfig
from prune.pruning.methods.dense import Dense, DenseConfig
from prune.pruning.methods.magnitude import Magnitude, MagnitudeConfig
from prune.pruning.methods.method import Method
from prune.pruning.methods.random import Random, RandomConfig
from prune.pruning.methods.ria import RIA, RIAConfig
from prune.pruning.methods.sparsegpt import SparseGPT, SparseGPTConfig
from prune.pruning.methods.wanda import Wanda, WandaConfig

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
