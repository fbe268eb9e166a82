"""Linears that are 2:4 on PyTorch's semi-structured kernels, for as long as something is timed.

Of each four consecutive inputs at least two are 0: such a weight takes half the products on NVIDIA GPUs of compute
capability 8.0 and above. PyTorch keeps it in a format of its own (torch.sparse.to_sparse_semi_structured).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prune.lazy import torch
from prune.models.blocks import named_linears
from prune.models.offload import is_offloaded

if TYPE_CHECKING:
    from torch import Tensor, nn

LEAST = (8, 0)
"""The compute capability from which GPUs have them."""


def linears_2_of_4(model: Any) -> dict[str, nn.Linear]:
    """Name -> linear, of those whose weights are 2:4, each of which has zeros enough in every group."""
    found = {name: linear for name, linear in named_linears(model).items() if isinstance(linear, torch.nn.Linear)}
    return {name: linear for name, linear in found.items() if is_2_of_4(linear.weight.detach())}


def is_2_of_4(weight_OI: Tensor) -> bool:
    """Whether at least two of each four consecutive inputs are 0."""
    if weight_OI.shape[1] % 4:
        return False
    return bool((weight_OI.reshape(-1, 4).count_nonzero(dim=1) <= 2).all())


def why_not(model: Any) -> str | None:
    """Why the kernels cannot serve a model where it is; None where they may."""
    device = model.device
    if device.type != "cuda":
        return f"they run on NVIDIA GPUs alone, and this is a {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST:
        return f"they need compute capability 8.0, and this GPU has {capability[0]}.{capability[1]}"
    if model.dtype not in (torch.float16, torch.bfloat16):
        return f"they take float16 and bfloat16, and the weights are {str(model.dtype).removeprefix('torch.')}"
    if any(map(is_offloaded, model.modules())):
        return "they need the weights on the GPU, and model.offload keeps them on the host"
    return None


@contextmanager
def semi_structured(linears: Mapping[str, nn.Linear]) -> Iterator[None]:
    """Inside, these linears compute by the kernels; afterwards they have their own weights, bit for bit.

    Raises:
        RuntimeError, NotImplementedError: PyTorch has none for such a weight.
    """
    from torch.sparse import to_sparse_semi_structured

    own = {name: linear.weight for name, linear in linears.items()}
    try:
        for linear in linears.values():
            packed = to_sparse_semi_structured(linear.weight.detach())
            linear.weight = torch.nn.Parameter(packed, requires_grad=False)
        yield
    finally:
        for name, linear in linears.items():
            linear.weight = own[name]
