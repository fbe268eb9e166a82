"""Experts of a mixture run one by one, so that what enters and leaves each of them can be looked at.

transformers lets a function of ours compute all layers of fused experts (see experts.py), in place of one product for all
experts. The result is the same up to rounding. Without a watch its own loop is used where that one product does not go.

Shapes: T tokens of a call, K experts for each token, P tokens routed to one expert, H hidden, I inside an expert.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from prune.lazy import torch
from prune.models.experts import is_fused, num_experts

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "prune_one_by_one"
"""The name under which transformers knows the function."""
ALIGNMENT = 16
"""The bytes of which a row of PyTorch's grouped product must have a multiple."""


@dataclass(frozen=True, eq=False)
class ExpertPass:
    """What one expert did in one call of its layer."""

    experts: nn.Module
    """The layer's experts."""
    expert: int
    hidden_TH: Tensor
    """All tokens that entered the layer, whichever expert they went to; sequence after sequence."""
    tokens_P: Tensor
    """The numbers of the tokens routed to this expert, ascending; there may be none."""
    gates_P: Tensor
    """The gates that the router gave them: their outputs are multiplied by these."""
    input_PH: Tensor
    """What entered the first matrices of the expert."""
    inner_PI: Tensor
    """What entered its last matrix."""
    output_PH: Tensor
    """What left it, before the router's factor."""


Watch: TypeAlias = Callable[[ExpertPass], None]
"""Called after each expert of each call, in their order, also for those that get no token."""

_watches: WeakKeyDictionary[nn.Module, Watch] = WeakKeyDictionary()


def inner_of(experts: nn.Module, expert: int, x_TH: Tensor) -> Tensor:
    """What enters the last matrix of an expert for any inputs of the expert, T x I."""
    module: Any = experts
    first = "gate_up_proj" if module.has_gate else "up_proj"
    hidden_TI = _linear(module, first, expert, x_TH)
    inner_TI: Tensor = module._apply_gate(hidden_TI) if module.has_gate else module.act_fn(hidden_TI)
    return inner_TI


def output_of(experts: nn.Module, expert: int, inner_TI: Tensor) -> Tensor:
    """What leaves an expert, T x H, before the router's factor."""
    module: Any = experts
    output_TH = _linear(module, "down_proj", expert, inner_TI)
    return module.post_expert_norm(output_TH) if getattr(module, "has_post_expert_norm", False) else output_TH


def run_experts(experts: nn.Module, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """The sum of each token's experts, times the router's factors, T x H; an index without an expert counts nothing."""
    watch = _watches.get(experts)
    # a wider sum, as the order of experts is not that of any other implementation
    total_TH = torch.zeros_like(hidden_states, dtype=torch.promote_types(hidden_states.dtype, torch.float32))
    for expert in range(num_experts(experts)):
        tokens_P, slots_P = torch.where(top_k_index == expert)
        if watch is None and not len(tokens_P):
            continue
        input_PH, gates_P = hidden_states[tokens_P], top_k_weights[tokens_P, slots_P]
        inner_PI = inner_of(experts, expert, input_PH)
        output_PH = output_of(experts, expert, inner_PI)
        total_TH.index_add_(0, tokens_P, (output_PH * gates_P[:, None]).to(total_TH.dtype))
        if watch is not None:
            watch(ExpertPass(experts, expert, hidden_states, tokens_P, gates_P, input_PH, inner_PI, output_PH))
    return total_TH.to(hidden_states.dtype)


def fit_implementation(model: nn.Module) -> None:
    """Let transformers run experts one after another where its one product for all experts cannot take them."""
    for module in model.modules():
        if is_fused(module) and not fits_grouped_product(module):
            config: Any = module.config
            config._experts_implementation = "eager"


def fits_grouped_product(experts: nn.Module) -> bool:
    """Whether PyTorch's grouped product takes them: float32 at most, and what enters and leaves them in whole alignments."""
    held: Any = experts.down_proj
    is_short = held.dtype in (torch.float32, torch.bfloat16, torch.float16)
    return is_short and all(size * held.itemsize % ALIGNMENT == 0 for size in held.shape[1:])


@contextmanager
def one_by_one(inside: nn.Module, watch: Watch | None = None) -> Iterator[None]:
    """Run fused experts inside a module, or model, one by one; `watch` sees each. May be nested: the innermost watch sees.

    An exception of `watch` ends the forward pass.
    """
    found: list[Any] = [module for module in inside.modules() if is_fused(module)]
    if not found:
        yield
        return
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    ALL_EXPERTS_FUNCTIONS.register(NAME, run_experts)
    configs = {id(module.config): module.config for module in found}
    implementations = {key: config._experts_implementation for key, config in configs.items()}
    watches = {module: _watches.get(module) for module in found}
    try:
        for config in configs.values():
            config._experts_implementation = NAME
        if watch is not None:
            _watches.update(dict.fromkeys(found, watch))
        yield
    finally:
        for key, config in configs.items():
            config._experts_implementation = implementations[key]
        for module, before in watches.items():
            _watches.pop(module, None)
            if before is not None:
                _watches[module] = before


def _linear(module: Any, name: str, expert: int, x_TI: Tensor) -> Tensor:
    weight = getattr(module, name)[expert]
    bias = getattr(module, f"{name}_bias")[expert] if module.has_bias else None
    return torch.nn.functional.linear(x_TI.to(weight.dtype), weight.t() if module.is_transposed else weight, bias)
