"""Pruning methods and token weights by their configuration class.

Each is one module: a dataclass `<Name>Config` of its knobs and a class `<Name>` that takes them. Those in methods/ and
weights/ are found by themselves; an installed package offers its own as an entry point of the group `prune.methods` or
`prune.weights` that names such a module. Dense has knobs alone, as it prunes nothing, and so has the weight none.
"""

from typing import Any

from prune.config.method import MethodConfig
from prune.config.options import Options, find_options, own_knobs
from prune.config.weight import ScaledConfig, WeightConfig
from prune.lazy import torch
from prune.pruning.measured import Measured
from prune.pruning.method import Method, fewest_tokens
from prune.pruning.methods.dense import DenseConfig
from prune.pruning.token_weights import Need, TokenWeights

METHODS = find_options("prune.pruning.methods", "prune.methods", MethodConfig, "method", nothing=DenseConfig)
"""Configuration class -> method, which has the fields of its configuration as parameters; None for dense."""

WEIGHTS: Options[WeightConfig] = {
    WeightConfig: None,
    **find_options("prune.pruning.weights", "prune.weights", WeightConfig, "weight"),
}
"""Configuration class -> token weights, which have the fields of their configuration as parameters; None for none."""


def build_method(config: MethodConfig) -> Method:
    """The method that a configuration asks for, with the Hessian beside it where only its output error needs one."""
    method: Any = METHODS[type(config)]
    assert method is not None, "dense prunes nothing"
    built: Method = method(**own_knobs(config, MethodConfig))
    return Measured(built) if config.output_error and not gathers_hessian(config) else built


def needs_inputs(config: MethodConfig) -> bool:
    """Whether the method of a configuration looks at a calibration set."""
    method: Any = METHODS[type(config)]
    return method is not None and (bool(method.needs_inputs) or config.output_error)


def gathers_hessian(config: MethodConfig) -> bool:
    """Whether the method of a configuration gathers the Hessian itself, so that its output error is always measured."""
    return bool(getattr(METHODS[type(config)], "gathers_hessian", False))


def fewest_by_default(config: MethodConfig) -> int:
    """How many tokens the statistic of a method's configuration needs: what `min_tokens` is where it is null."""
    return fewest_tokens(build_method(config).start_statistic(1, torch.device("meta")))


def counts_alike(config: WeightConfig, *, full: bool = False) -> bool:
    """Whether every token counts the same; `full`: in sequences without padding."""
    weights = WEIGHTS[type(config)]
    if weights is None or (full and getattr(weights, "alike_when_full", False)):
        return True
    return isinstance(config, ScaledConfig) and config.min == config.max


def needs_attention(config: WeightConfig) -> bool:
    """Whether the token weights of a configuration look at the attention in each block."""
    return Need.attention in getattr(WEIGHTS[type(config)], "needs", ())


def build_weights(config: WeightConfig) -> TokenWeights | None:
    """The token weights that a configuration asks for; None where every token counts the same."""
    weights: Any = WEIGHTS[type(config)]
    built: TokenWeights | None = weights and weights(**own_knobs(config, WeightConfig))
    return built
