"""Statistics of the dense model that the cells of one process share (method.propagation=dense).

A pass of the calibration set depends on the model, the set and the batch size. As long as further cells can use it, its
statistics wait in host memory; where they do not fit, or nobody else needs them, a cell makes a pass of its own, one block's
statistics at a time. That changes no bit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from prune.cell.cell import Cell
from prune.cell.identity import pass_key
from prune.lazy import torch
from prune.models.host_memory import available_memory
from prune.pruning.registry import build_method

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet
    from prune.pruning.hidden_states import Walk
    from prune.pruning.method import Keepable, Method
    from prune.pruning.propagation import Inputs, Kind

log = logging.getLogger("prune")

DENSE_NOTE = (
    "method.propagation=dense: every block was pruned by inputs from the dense model, not, as published, from the pruned "
    "blocks before it."
)

SHARE_OF_MEMORY = 0.5
"""The largest share of the memory available when a pass begins that its statistics may take; evaluation needs the rest."""


class DensePasses:
    """Keeps the statistics of the last pass."""

    def __init__(self) -> None:
        self._coming: list[Cell] | None = None
        self._key: str | None = None
        self._kept: dict[Kind, list[dict[str, Keepable]]] = {}

    def expect(self, cells: Sequence[Cell]) -> None:
        """Name the cells that will run; without this every cell's statistics are kept, as any cell may follow."""
        self._coming = list(cells)

    def inputs(
        self, cell: Cell, model: PreTrainedModel, calibration: CalibrationSet, on_block: Callable[[int, int], None]
    ) -> Inputs | None:
        """The inputs of the cell's method, which is about to prune the dense `model`; None where its blocks see pruned ones.

        `on_block` is called after each block of a pass that is made now, with the number of blocks done, and of all.

        Raises:
            UserError: the calibration set does not fit the model, or hidden states overflow.
        """
        key = pass_key(cell.config)
        if key is None:
            return None
        if key != self._key:
            self._key, self._kept = key, {}
        others = self._others(cell, key)
        inputs = self._inputs(cell, others, model, calibration, on_block)
        if others == []:
            self._kept = {}
        return inputs

    def leave(self, cell: Cell) -> None:
        """Free the statistics that no further cell needs, after `cell` has ended in whatever way."""
        if self._coming is not None and self._key is not None and self._others(cell, self._key) == []:
            self._kept = {}

    def _others(self, cell: Cell, key: str) -> list[Cell] | None:
        """The cells to come that this one's pass serves; None when nobody knows."""
        if self._coming is None:
            return None
        self._coming = [other for other in self._coming if other.id != cell.id]
        return [other for other in self._coming if pass_key(other.config) == key]

    def _inputs(
        self,
        cell: Cell,
        others: list[Cell] | None,
        model: PreTrainedModel,
        calibration: CalibrationSet,
        on_block: Callable[[int, int], None],
    ) -> Inputs:
        from prune.pruning.expert_inputs import rule_of
        from prune.pruning.hidden_states import Walk
        from prune.pruning.propagation import DenseInputs, KeptInputs, collect_all, kind_of

        method = build_method(cell.config.method)
        kind = kind_of(method)
        if kind not in self._kept:
            with torch.no_grad():
                walk = Walk(model, calibration, batch_size=cell.config.batch_size, experts=rule_of(cell.config.method))
            methods = [build_method(other.config.method) for other in others or ()]
            fitting = [] if others == [] else _fitting(model, walk, [method, *methods])
            if kind not in map(kind_of, fitting):
                return DenseInputs(walk, method)
            self._kept |= collect_all(walk, fitting, on_block)
        return KeptInputs(model, self._kept[kind])


def _fitting(model: PreTrainedModel, walk: Walk, methods: Sequence[Method]) -> list[Method]:
    """A method for each kind of statistics, small ones first, as long as all together may be kept."""
    from prune.pruning.propagation import kept_bytes, kind_of

    limit = int(SHARE_OF_MEMORY * available_memory())
    fitting: list[Method] = []
    of_kind = {kind_of(method): method for method in methods}
    sizes = {kind: kept_bytes(model, walk, method) for kind, method in of_kind.items()}
    for kind in sorted(sizes, key=sizes.__getitem__):
        if sizes[kind] > limit:
            log.info(
                "the dense model's statistics (%s) would take %.3g MB, and %.3g MB may be used: each cell collects its own",
                *(kind.__name__, sizes[kind] / 1e6, limit / 1e6),
            )
            break
        limit -= sizes[kind]
        log.info("the dense model's statistics (%s) are kept, %.3g MB", kind.__name__, sizes[kind] / 1e6)
        fitting.append(of_kind[kind])
    return fitting
