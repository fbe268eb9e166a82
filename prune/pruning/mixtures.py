"""The mixtures of experts of a model, and the same model with fewer experts in each.

A mixture is the module that holds a fused module of experts and their router. Whatever the architecture, a tensor of either
has an entry for each expert, along its first dimension or else its last, so the smaller one is a slice of it.

Shapes: E experts.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prune.errors import UserError
from prune.models.blocks import find_blocks
from prune.models.experts import is_fused, num_experts
from prune.pruning.smaller import check_described, twin

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class Mixture:
    """One mixture of experts."""

    name: str
    """`<block>.<name in the block>`, of the module that holds experts and router."""
    module: nn.Module
    experts_name: str
    """The name of the fused experts in the module."""
    num_experts: int

    @property
    def experts(self) -> nn.Module:
        """The fused experts."""
        return self.module.get_submodule(self.experts_name)

    def routing(self) -> Iterator[tuple[nn.Module, str, Tensor]]:
        """(module, name, tensor) of all that the router holds of each expert."""
        yield from _per_expert(self.module, self.num_experts, recurse=False)
        for name, child in self.module.named_children():
            if name != self.experts_name and "shared" not in name:
                yield from _per_expert(child, self.num_experts)

    def router_weight(self) -> Tensor:
        """The router's matrix, E x hidden.

        Raises:
            UserError: it has none, or several.
        """
        found = [tensor for _, name, tensor in self.routing() if name == "weight" and tensor.dim() == 2]
        if len(found) != 1:
            raise UserError(
                f"sparsity.criterion=router: the router of {self.name} has {len(found)} matrices with a row for each "
                "expert, and one is needed. Give another criterion, as in sparsity.criterion=reap."
            )
        return found[0]


def find_mixtures(model: PreTrainedModel) -> list[Mixture]:
    """The mixtures of a model, block by block; all of them have the same number of experts.

    Raises:
        UserError: there is none that can be sliced, or they differ.
    """
    found = [mixture for index, block in enumerate(find_blocks(model)) for mixture in _mixtures_of(index, block)]
    counts = sorted({mixture.num_experts for mixture in found})
    if len(counts) != 1:
        what = f"mixtures of {' and '.join(map(str, counts))} experts" if counts else "no fused experts of a known layout"
        raise UserError(
            f"{type(model).__name__} has {what}: sparsity=experts drops the same number from mixtures of equal size, kept "
            "in one tensor a layer as transformers 5 does. Give another model, or prune single weights, as in "
            "sparsity=unstructured."
        )
    return found


def _mixtures_of(index: int, block: nn.Module) -> Iterator[Mixture]:
    for name, module in block.named_modules():
        if is_fused(module):
            parent, _, last = name.rpartition(".")
            yield Mixture(f"{index}.{parent}".rstrip("."), block.get_submodule(parent), last, num_experts(module))


def _per_expert(module: nn.Module, number: int, *, recurse: bool = True) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """(module, name, tensor) of each parameter and buffer with an entry for each of `number` experts."""
    for each in module.modules() if recurse else (module,):
        held = chain(each.named_parameters(recurse=False), each.named_buffers(recurse=False))
        yield from ((each, name, tensor) for name, tensor in held if number in (tensor.shape[:1] + tensor.shape[-1:]))


def without_experts(model: PreTrainedModel, kept: Mapping[str, Sequence[int]]) -> PreTrainedModel:
    """The model with these experts of each mixture, by the names of the mixtures; `model` itself stays as it is.

    Raises:
        UserError: its configuration cannot describe what is left.
    """
    smaller = twin(model)
    mixtures = find_mixtures(smaller)
    before, after = mixtures[0].num_experts, len(next(iter(kept.values())))
    for mixture in mixtures:
        places = list(kept[mixture.name])
        tensors = [*_per_expert(mixture.experts, before), *mixture.routing()]
        for module, name, tensor in tensors:
            slice_tensor(module, name, tensor, before, places)
    set_counts(smaller, before, after)
    settings: Any = smaller.config.get_text_config()
    for key, value in list(vars(settings).items()):
        if value == before and "expert" in key and "shared" not in key and "per_tok" not in key:
            setattr(settings, key, after)
    check_described(smaller, f"with {after} of {before} experts", {"experts_per_group"})
    return smaller


def slice_tensor(module: nn.Module, name: str, tensor: Tensor, number: int, places: Sequence[int]) -> None:
    """Let a module hold the entries of a tensor for some of `number` experts."""
    dim = 0 if tensor.shape[0] == number else tensor.dim() - 1
    index = torch.tensor(places, device=tensor.device)
    if getattr(module, "out_features", None) == number:
        vars(module)["out_features"] = len(places)
    sliced = tensor.detach().index_select(dim, index)
    if isinstance(tensor, nn.Parameter):
        setattr(module, name, nn.Parameter(sliced, requires_grad=tensor.requires_grad))
    else:
        setattr(module, name, sliced)


def set_counts(model: nn.Module, before: int, after: int) -> None:
    """Let the modules of a model know how many experts there are, wherever they hold that number."""
    for name, module in model.named_modules():
        if "shared" not in name:
            for key, value in list(vars(module).items()):
                if type(value) is int and value == before and "expert" in key:
                    setattr(module, key, after)


def rerouted(mixture: Mixture, kept: Sequence[int]) -> nn.Module:
    """The mixture with the router of a smaller one before the very same experts: what it computes without the others."""
    memo: dict[int, Any] = {id(each): each for each in chain(mixture.module.parameters(), mixture.module.buffers())}
    memo[id(mixture.experts)] = _Renumbered(mixture.experts, kept)
    module: nn.Module = copy.deepcopy(mixture.module, memo)
    smaller = Mixture(mixture.name, module, mixture.experts_name, mixture.num_experts)
    for holder, name, tensor in list(smaller.routing()):
        slice_tensor(holder, name, tensor, mixture.num_experts, kept)
    set_counts(module, mixture.num_experts, len(kept))
    return module


class _Renumbered(nn.Module):
    """Experts behind numbers that count the kept ones alone."""

    def __init__(self, experts: nn.Module, kept: Sequence[int]) -> None:
        super().__init__()
        self._held = (experts,)  # in a tuple, so that they are no part of this module
        self._kept = tuple(kept)

    def forward(self, hidden: Tensor, index: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the experts give for the numbers of the kept ones."""
        kept = torch.tensor(self._kept, device=index.device)
        found: Tensor = self._held[0].forward(hidden, kept[index], *args, **kwargs)
        return found


def num_groups(model: PreTrainedModel) -> int:
    """Into how many groups the router sorts the experts; 1 where it does not."""
    return int(getattr(model.config.get_text_config(), "n_group", None) or 1)


def check_left(model: PreTrainedModel, number: int, dropped: int, top_k: int) -> None:
    """Make sure that a mixture of `number` experts can do without `dropped` ones.

    Raises:
        UserError: fewer are left than each token chooses, or groups of the router would differ in size.
    """
    groups, left = num_groups(model), number - dropped
    chosen = int(getattr(model.config.get_text_config(), "topk_group", None) or groups)
    least = top_k if groups == 1 else groups * max(2, -(-top_k // chosen))
    if left < least:
        why = f"each token chooses {top_k}" + (f", out of {chosen} of {groups} groups" if groups > 1 else "")
        most = number - least
        fits = most - most % groups
        way = f"Give sparsity.num={fits} or less" if fits > 0 else "Give another model: none can go"
        raise UserError(f"sparsity=experts would leave {left} of {number} experts, and {least} are needed: {why}. {way}.")
    if dropped % groups:
        fitting = max(groups, dropped - dropped % groups)
        raise UserError(
            f"sparsity=experts would drop {dropped} of {number} experts, whose router sorts them into {groups} groups of "
            f"one size: the number must be a multiple of {groups}, as in sparsity.num={fitting}."
        )


def dropped_of(number: int, kept: Collection[int]) -> list[int]:
    """The experts that are not kept, ascending."""
    return [expert for expert in range(number) if expert not in kept]
