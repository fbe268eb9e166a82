"""Where the statistics of a block's linears come from: the outputs of the pruned blocks before it, or of dense ones.

As published, the calibration set passes each block twice, dense for its statistics and pruned for what enters the next one,
and all of it again for every cell. With dense outputs one pass does both. It depends on nothing that a cell removes, so its
statistics, kept, serve every ratio, pattern and method.

Shapes: N samples, L tokens, I in.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import torch
from torch import Tensor

from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, read_weight
from prune.pruning.expert_inputs import BlockStatistics
from prune.pruning.method import Keepable, Method, Statistic, statistic_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

    from prune.pruning.hidden_states import Walk


class Inputs(Protocol):
    """Where the statistics of each block come from, one block after another."""

    def portions(self, index: int, wanted: Collection[str]) -> Sequence[Collection[str]]:
        """The `wanted` linears as `enter` is to be asked for them, one portion pruned after the other.

        Raises:
            UserError: their statistics do not fit in memory together, and cannot be had apart.
        """

    def enter(self, index: int, wanted: Collection[str]) -> Mapping[str, Statistic]:
        """Name -> statistic for the `wanted` linears (none of them is possible) of a block that is still dense.

        Linears with the same input have the same object.

        Raises:
            UserError: hidden states overflow.
        """

    def leave(self, index: int) -> None:
        """The block has its new weights.

        Raises:
            UserError: hidden states overflow.
        """


@dataclass(frozen=True)
class PrunedInputs:
    """Each block sees what the pruned blocks before it make of the calibration set."""

    walk: "Walk"
    method: Method
    last: int
    """The last block of which anything is wanted."""

    def portions(self, index: int, wanted: Collection[str]) -> Sequence[Collection[str]]:
        """Experts in as many as the memory needs."""
        return self.walk.portions(index, self.method, wanted)

    def enter(self, index: int, wanted: Collection[str]) -> Mapping[str, Statistic]:
        """Collected in a pass that ends at the last wanted input."""
        return self.walk.collect(index, self.method, wanted) if wanted else {}

    def leave(self, index: int) -> None:
        """Pass the block again, pruned."""
        if index < self.last:
            self.walk.advance(index)


@dataclass(frozen=True)
class DenseInputs:
    """Each block sees what the dense blocks before it make of the calibration set; one block's statistics at a time."""

    walk: "Walk"
    method: Method

    def portions(self, index: int, wanted: Collection[str]) -> Sequence[Collection[str]]:
        """One: what enters the next block must leave this one before any of it is pruned."""
        found = self.walk.portions(index, self.method, wanted)
        if len(found) > 1:
            raise UserError(
                f"block {index}: the statistics of its experts do not fit in memory together, and with "
                "method.propagation=dense they must. method.propagation=pruned takes some experts at a time."
            )
        return found

    def enter(self, index: int, wanted: Collection[str]) -> Mapping[str, Statistic]:
        """Collected in the one pass of this block."""
        if wanted:
            return self.walk.collect(index, self.method, wanted, advance=index + 1 < len(self.walk.groups))
        self.walk.advance(index)
        return {}

    def leave(self, index: int) -> None:
        """Nothing to do: the hidden states already entered the next block."""


Kind: TypeAlias = type[Statistic]
"""Methods whose statistics are of one class share them."""


@dataclass(frozen=True)
class KeptInputs:
    """As DenseInputs, from statistics that an earlier pass left in host memory; the same bits."""

    model: "PreTrainedModel"
    blocks: Sequence[Mapping[str, Keepable]]
    """Linear -> statistic, for each block."""

    def portions(self, index: int, wanted: Collection[str]) -> Sequence[Collection[str]]:
        """One: they are all there."""
        return [wanted]

    def enter(self, index: int, wanted: Collection[str]) -> Mapping[str, Statistic]:
        """The statistics of the block, moved to its device."""
        self._move(index, next(find_blocks(self.model)[index].parameters()).device)
        block = self.blocks[index]
        found = BlockStatistics({name: block[name] for name in wanted})
        found.routing = getattr(block, "routing", {})
        return found

    def leave(self, index: int) -> None:
        """Back to host memory, with what was computed from them once for all."""
        self._move(index, torch.device("cpu"))

    def _move(self, index: int, device: torch.device) -> None:
        for statistic in self.blocks[index].values():
            statistic.move(device)


def kind_of(method: Method) -> Kind:
    """The class of a method's statistics."""
    return type(method.start_statistic(1, torch.device("meta")))


def kept_bytes(model: "PreTrainedModel", walk: "Walk", method: Method) -> int:
    """Bytes of one method's statistics for all linears of the model; linears with the same input share one."""
    total = 0
    for block, groups in zip(find_blocks(model), walk.groups, strict=True):
        linears = find_linears(block)
        for first in groups:
            total += statistic_bytes(method, read_weight(linears[first]).shape[1], model.dtype)
    return total


def collect_all(
    walk: "Walk", methods: Iterable[Method], on_block: "Callable[[int, int], None]" = lambda num_done, num_blocks: None
) -> dict[Kind, list[dict[str, Keepable]]]:
    """Kind -> the statistics of every linear of each block, in host memory, from one pass over the dense model.

    `methods` say which kinds. The bits are those of DenseInputs for each method alone.
    """
    several = _EveryKind({kind_of(method): method for method in methods})
    kept: dict[Kind, list[dict[str, Keepable]]] = {kind: [] for kind in several.methods}
    num_blocks = len(walk.groups)
    with torch.no_grad():
        for index in range(num_blocks):
            if walk.has_experts(index):
                _collect_each(walk, index, several.methods, kept)
            else:
                collected = walk.collect(index, several, advance=index + 1 < num_blocks)
                for kind, blocks in kept.items():
                    blocks.append({name: _to_host(statistic, kind) for name, statistic in collected.items()})
            on_block(index + 1, num_blocks)
    return kept


def _collect_each(
    walk: "Walk", index: int, methods: Mapping[Kind, Method], kept: Mapping[Kind, list[dict[str, Keepable]]]
) -> None:
    """Add the statistics of a block with experts, kind by kind: how many tokens are too few depends on the kind."""
    for kind, method in methods.items():
        collected = walk.collect(index, method)
        block = BlockStatistics({name: _to_host(statistic, kind) for name, statistic in collected.items()})
        block.routing = collected.routing
        kept[kind].append(cast("dict[str, Keepable]", block))
    if index + 1 < len(walk.groups):
        walk.advance(index)


def _to_host(statistic: Statistic, kind: Kind) -> Keepable:
    part = statistic.parts[kind] if isinstance(statistic, _StatisticsByKind) else statistic
    assert isinstance(part, Keepable), type(part)
    part.move(torch.device("cpu"))
    return part


@dataclass(frozen=True)
class _EveryKind:
    """Starts a statistic of each kind at once."""

    methods: Mapping[Kind, Method]

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """One of each kind, side by side."""
        return _StatisticsByKind({kind: method.start_statistic(num_inputs, device) for kind, method in self.methods.items()})


@dataclass(frozen=True)
class _StatisticsByKind:
    """Statistics of the same inputs."""

    parts: Mapping[Kind, Statistic]

    def add(self, x_TI: Tensor, weight_T: Tensor | None = None) -> None:
        """Give the inputs to each."""
        for part in self.parts.values():
            part.add(x_TI, weight_T)
