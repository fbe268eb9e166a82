"""The experts of a mixture: matrices that transformers keeps in one tensor per layer, each as a linear of its own.

transformers 5 marks the classes that hold them (`use_experts_implementation`) with what a reader of the tensors must know:
whether they are transposed, whether gate and up lie one after the other or interleaved, whether there are biases and a gate.

Shapes: E experts, O out, I in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prune.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

_BIASES = ("gate_up_proj_bias", "up_proj_bias", "down_proj_bias")
_ROUTER_PARTS = frozenset({"gate", "router", "wg", "shared_expert_gate"})
"""Names that modules which choose experts, or weigh a shared one, have in transformers."""


@dataclass(frozen=True, eq=False)
class ExpertMatrix:
    """One matrix of one expert, a view into the tensor that holds those of all experts of its layer."""

    experts: nn.Module
    """The module that holds the tensor."""
    expert: int
    kind: str
    """gate_proj, up_proj or down_proj."""

    @property
    def weight(self) -> Tensor:
        """O x I, whatever the layout; writing to it changes the model. Made anew, as the tensor may have been moved."""
        return self.within(self.held.detach())

    def within(self, held: Tensor) -> Tensor:
        """The view of this matrix, O x I, into any tensor of that layout."""
        experts: Any = self.experts
        own = held[self.expert]
        weight_OI = own.t() if experts.is_transposed else own
        if not self.parameter.startswith("gate_up"):
            return weight_OI
        is_up = self.kind == "up_proj"
        if not experts.is_concatenated:
            return weight_OI[int(is_up) :: 2]
        half = len(weight_OI) // 2
        return weight_OI[half:] if is_up else weight_OI[:half]

    @property
    def held(self) -> nn.Parameter:
        """The tensor of all experts."""
        held: nn.Parameter = getattr(self.experts, self.parameter)
        return held

    @property
    def parameter(self) -> str:
        """The name of the tensor in its module."""
        return "gate_up_proj" if self.kind != "down_proj" and self.experts.has_gate else self.kind


def is_fused(module: nn.Module) -> bool:
    """Whether a module holds the matrices of several experts in tensors whose layout it says."""
    if not all(hasattr(module, mark) for mark in ("is_transposed", "is_concatenated", "has_gate", "has_bias")):
        return False
    held = [getattr(module, name, None) for name in _tensors(module)]
    return all(isinstance(each, torch.nn.Parameter) and each.dim() == 3 for each in held)


def num_experts(module: nn.Module) -> int:
    """How many experts a fused module holds."""
    held: Any = module.down_proj
    return len(held)


def matrices_of(module: nn.Module) -> dict[str, ExpertMatrix]:
    """`<expert>.<kind>` -> matrix, of a fused module; expert by expert."""
    kinds = ("gate_proj", "up_proj", "down_proj") if module.has_gate else ("up_proj", "down_proj")
    return {
        f"{expert}.{kind}": ExpertMatrix(module, expert, kind) for expert in range(num_experts(module)) for kind in kinds
    }


def held_parameters(module: nn.Module) -> set[str]:
    """Names of the parameters of a fused module that its matrices and their biases are."""
    return {*_tensors(module), *(_BIASES if module.has_bias else ())}


def is_router(name: str, module: nn.Module, counts: set[int]) -> bool:
    """Whether a module with this name in a block chooses experts, or weighs a shared one, and so is never pruned.

    `counts` are the numbers of experts of the block's layers; a router may have a network of its own under its name.
    """
    parts = name.split(".")
    if not counts or _ROUTER_PARTS.isdisjoint(parts):
        return False
    return "router" in parts or any(len(each) in counts | {1} for each in module.parameters(recurse=False))


def _tensors(module: nn.Module) -> tuple[str, str]:
    """Names of the tensors that hold the first and the last matrices of fused experts."""
    return ("gate_up_proj" if module.has_gate else "up_proj"), "down_proj"
