"""Blocks that stay on the host and come to the device one at a time (model.offload), for models larger than the device.

Parameters and buffers stay the same objects: only what they point to is exchanged. A block comes by itself for each forward
pass; `on_device` holds it for longer, and takes changed weights back to the host. All that is not a block (embedding, final
norm, head, rotary tables) stays on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from itertools import chain
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from prune.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn


class Mover:
    """Copies tensors between the host and a device, and counts the bytes of them that are there."""

    def __init__(self, device: torch.device) -> None:
        """On the device "cpu" copies are made as well: nothing is saved there, and nothing comes out differently."""
        self.device = device
        self.num_bytes = 0
        self.peak_bytes = 0
        """The most bytes that were there at once."""

    def keep(self, tensor: Tensor) -> Tensor:
        """The tensor on the host, in pinned memory where the device is a GPU, which copies twice as fast from there."""
        host = tensor.cpu()
        return host.pin_memory() if self.device.type == "cuda" else host

    def bring(self, host: Tensor) -> Tensor:
        """A copy on the device."""
        self.num_bytes += host.nbytes
        self.peak_bytes = max(self.peak_bytes, self.num_bytes)
        return torch.empty_like(host, device=self.device, pin_memory=False).copy_(host, non_blocking=True)

    def drop(self, host: Tensor) -> None:
        """Count that its copy has left the device."""
        self.num_bytes -= host.nbytes


class OffloadedBlock:
    """The parameters and buffers of a block, on the host but for the time of a `with`."""

    def __init__(self, block: nn.Module, mover: Mover) -> None:
        self._mover = mover
        self._tensors = [(tensor, mover.keep(tensor.data)) for tensor in chain(block.parameters(), block.buffers())]
        self._num_holders = 0
        self._is_changed = False
        self._point_to(host for _, host in self._tensors)

    @contextmanager
    def present(self, *, changes: bool = False) -> Iterator[None]:
        """On the device inside; `changes` says that the weights may be changed there."""
        if self._num_holders == 0:
            with torch.inference_mode(False), torch.no_grad():
                self._point_to([self._mover.bring(host) for _, host in self._tensors])
        self._num_holders += 1
        self._is_changed |= changes
        try:
            yield
        finally:
            self._num_holders -= 1
            if self._num_holders == 0:
                self._leave()

    def _leave(self) -> None:
        with torch.inference_mode(False), torch.no_grad():
            for tensor, host in self._tensors if self._is_changed else ():
                host.copy_(tensor.data)
            self._point_to(host for _, host in self._tensors)
        for _, host in self._tensors:
            self._mover.drop(host)
        self._is_changed = False

    def _point_to(self, data: Iterable[Tensor]) -> None:
        for (tensor, _), there in zip(self._tensors, data, strict=True):
            tensor.data = there


_offloaded: WeakKeyDictionary[nn.Module, OffloadedBlock] = WeakKeyDictionary()


def offload_blocks(model: nn.Module, blocks: Iterable[nn.Module], mover: Mover) -> None:
    """Keep `blocks` of a model on the host, and put all the rest of it on the mover's device."""
    blocks = list(blocks)
    for block in blocks:
        _offloaded[block] = OffloadedBlock(block, mover)
        vars(block)["forward"] = _coming_by_itself(block.forward, _offloaded[block])
    inside = {id(tensor) for block in blocks for tensor in chain(block.parameters(), block.buffers())}
    for tensor in chain(model.parameters(), model.buffers()):
        if id(tensor) not in inside:
            tensor.data = tensor.data.to(mover.device)


def is_offloaded(block: nn.Module) -> bool:
    """Whether the block stays on the host."""
    return block in _offloaded


def on_device(block: nn.Module, *, changes: bool = False) -> AbstractContextManager[None]:
    """Inside, the block is where it computes; with `changes` its weights are taken back to the host at the end.

    Does nothing for a block that is not offloaded. May be nested.
    """
    offloaded = _offloaded.get(block)
    return nullcontext() if offloaded is None else offloaded.present(changes=changes)


def _coming_by_itself(forward: Callable[..., Any], offloaded: OffloadedBlock) -> Callable[..., Any]:
    @wraps(forward)
    def present_forward(*args: Any, **kwargs: Any) -> Any:
        with offloaded.present():
            return forward(*args, **kwargs)

    return present_forward
