"""The loss of a model on its calibration set with some of its blocks skipped: their input is their output.

The model itself is not changed: a block's forward is exchanged for as long as the loss is measured. Sets of blocks that are
asked for together share what comes before the first block in which they differ, batch by batch, so that a greedy step takes
about half the time of as many whole passes; the hidden states that enter every block of one batch are held for it.

Shapes: B sequences, L tokens, H hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prune.lazy import torch
from prune.models.losses import next_token_losses
from prune.models.ragged import batches, fill_up
from prune.pruning.replay import rehearse

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet

Blocks = frozenset[int]


class SkippedLosses:
    """Mean cross-entropy over all predicted real tokens of a set, in nats."""

    def __init__(
        self,
        model: PreTrainedModel,
        blocks: nn.ModuleList,
        calibration: CalibrationSet,
        *,
        batch_size: int,
        on_pass: Callable[[int], None] = lambda num_done: None,
    ) -> None:
        """Check that the blocks of the model are a chain, each of which can be left out.

        Args:
            batch_size: sequences in a forward pass.
            on_pass: called with the number of sets that have been measured.

        Raises:
            UserError: they are not a chain.
        """
        self._model, self._blocks, self._batch_size, self._on_pass = model, list(blocks), batch_size, on_pass
        with torch.no_grad():
            rehearsal = rehearse(model, self._blocks, [{} for _ in blocks], calibration.tokens_NL)
        self._lengths = rehearsal.output_lengths
        pairs = zip(calibration.tokens_NL, calibration.real_NL, strict=True)
        self._sequences = [ids for ids_L, real_L in pairs if len(ids := ids_L[real_L].tolist()) > 1]
        self._own = [block.forward for block in blocks]
        self._entries: dict[int, Tensor] = {}
        self._skipped, self._start, self._keeps = Blocks(), 0, False
        self.num_measured = 0

    def __call__(self, asked: Sequence[Blocks], common: Blocks = frozenset()) -> Mapping[Blocks, float]:
        """The loss without each set of blocks; all of them have the `common` ones."""
        sums = dict.fromkeys(asked, 0.0)
        longest = max(map(len, self._sequences), default=0)
        with torch.inference_mode(), self._exchanged_forwards():
            for places in batches(self._sequences, range(len(self._sequences)), self._batch_size * longest):
                sequences = [self._sequences[place] for place in places]
                ids_BL = fill_up(sequences).to(self._model.device)
                lengths_B = torch.tensor(list(map(len, sequences)))
                for blocks, total in self._of_batch(ids_BL, lengths_B, list(sums), common):
                    sums[blocks] += total
            self._entries.clear()
        self.num_measured += len(sums)
        self._on_pass(self.num_measured)
        num_predicted = sum(len(ids) - 1 for ids in self._sequences)
        return {blocks: _or_infinite(total / max(num_predicted, 1)) for blocks, total in sums.items()}

    def _of_batch(
        self, ids_BL: Tensor, lengths_B: Tensor, asked: Sequence[Blocks], common: Blocks
    ) -> Iterator[tuple[Blocks, float]]:
        """Each set with its summed loss on a batch; the hidden states before each block are found once for all of them."""
        if len(asked) > 1:
            self._skipped, self._start, self._keeps = common, 0, True
            self._model.base_model(input_ids=ids_BL[:, :-1], use_cache=False)
            self._keeps = False
        for blocks in asked:
            self._skipped = blocks
            self._start = min(blocks - common, default=0) if len(asked) > 1 else 0
            yield blocks, _summed_loss(self._model, ids_BL, lengths_B)

    @contextmanager
    def _exchanged_forwards(self) -> Iterator[None]:
        """Let each block skip itself where it is asked to; what was set on the instance before comes back at the end."""
        before = [vars(block).get("forward") for block in self._blocks]
        try:
            for index, block in enumerate(self._blocks):
                vars(block)["forward"] = self._forward_of(index)
            yield
        finally:
            for block, own in zip(self._blocks, before, strict=True):
                vars(block).pop("forward", None)
                if own is not None:
                    vars(block)["forward"] = own

    def _forward_of(self, index: int) -> Callable[..., Any]:
        length = self._lengths[index]

        def forward(*args: Any, **kwargs: Any) -> Any:
            hidden_BLH = args[0] if args else kwargs["hidden_states"]
            if self._keeps:
                self._entries[index] = hidden_BLH
            if index >= self._start and index not in self._skipped:
                return self._own[index](*args, **kwargs)
            if index == self._start:
                hidden_BLH = self._entries.get(index, hidden_BLH)
            return (hidden_BLH, *[None] * (length - 1)) if length else hidden_BLH

        return forward


def _summed_loss(model: PreTrainedModel, ids_BL: Tensor, lengths_B: Tensor) -> float:
    losses_BL = next_token_losses(model, ids_BL).double().cpu()
    real_BL = torch.arange(ids_BL.shape[1] - 1) < (lengths_B - 1)[:, None]
    return float(torch.where(real_BL, losses_BL, 0.0).sum())


def _or_infinite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
