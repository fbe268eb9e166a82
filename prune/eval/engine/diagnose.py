"""The first part of a model whose output is not finite, found by running one text again."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from prune.errors import UserError
from prune.models.blocks import find_blocks


@dataclass(frozen=True, slots=True)
class Part:
    """A block, or a module outside the blocks that holds no others: embedding, norm, head."""

    name: str
    """`block 3 of 16 (model.layers.3)`, `model.norm`."""
    module: nn.Module


def describe_broken(model: Any, tokens: Sequence[int]) -> str:
    """A message about logits that are not numbers after `tokens`: where they begin, why, and what to do."""
    part, dtype = find_broken(model, tokens), str(model.dtype).removeprefix("torch.")
    narrow = model.dtype in (torch.float16, torch.bfloat16)
    advice = "Try model.dtype=float32." if narrow else "method=dense tells whether the pruning is to blame."
    if part is None:
        return (
            f"activations overflow in {dtype}, though not when the same text runs alone, so that no block can be named. "
            f"{advice}"
        )
    if all(weight.isfinite().all() for weight in part.module.parameters()):
        cause = f"Its weights are finite: its activations overflow in {dtype}."
    else:
        cause = f"Its weights are not finite: they are broken, or overflow in {dtype}."
    return f"the first output that is not finite is that of {part.name}. {cause} {advice}"


def find_broken(model: Any, tokens: Sequence[int]) -> Part | None:
    """The first part of the model whose output for this text is not finite; None when all are."""
    broken: list[Part] = []

    def watch(part: Part, module: nn.Module, args: Any, output: Any) -> None:
        if not broken and not all(one.isfinite().all() for one in _tensors(output)):
            broken.append(part)

    with ExitStack() as hooks, torch.inference_mode():
        for part in list_parts(model):
            hooks.enter_context(part.module.register_forward_hook(partial(watch, part)))
        model(input_ids=torch.tensor([list(tokens)], device=model.device), use_cache=False)
    return broken[0] if broken else None


def list_parts(model: Any) -> list[Part]:
    """The blocks and what stands outside them, in the order of the module tree; without blocks, all that hold no others."""
    try:
        blocks = list(find_blocks(model))
    except UserError:
        blocks = []
    inside = {module for block in blocks for module in block.modules()}.difference(blocks)
    return [
        Part(f"block {blocks.index(module)} of {len(blocks)} ({name})" if module in blocks else name, module)
        for name, module in model.named_modules()
        if module in blocks or (module not in inside and not any(module.children()))
    ]


def _tensors(output: Any) -> Iterator[Tensor]:
    """The tensors that a module gave back, alone or among others."""
    several = output if isinstance(output, (tuple, list)) else (output,)
    return (one for one in several if isinstance(one, Tensor))
