"""The hidden states of a calibration set on their way through the blocks of a model, and the inputs that linears see there.

replay.py says how a block is called. Only one buffer of hidden states is held, and it is overwritten block by block.
It lies beside the embedding, or on the host where blocks are offloaded; a batch is taken to where its block is.

Shapes: N samples, L tokens, B sequences in a batch, T tokens in all, I in, H hidden.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prune.config.method import ExpertTokens
from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, read_weight
from prune.models.experts import ExpertMatrix
from prune.models.experts_forward import one_by_one
from prune.models.host_memory import room_on
from prune.models.offload import is_offloaded, on_device
from prune.pruning.attention import check_seen
from prune.pruning.expert_inputs import BlockStatistics, ExpertRule, Fed, Routing, expert_of, in_portions, one_group
from prune.pruning.feeding import Counts, SeenBatch, Watched, run_watched
from prune.pruning.method import fewest_tokens, statistic_bytes
from prune.pruning.replay import REHEARSAL_TOKENS, Call, record_calls, rehearse, same_calls
from prune.pruning.token_weights import Need
from prune.pruning.weighted_set import WeightedSet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet
    from prune.pruning.method import StartsStatistic, Statistic

CALL_CACHE_BYTES = 256 * 2**20
"""Masks and rotary tables up to this size are kept; those of further batches are computed anew for each block."""


@dataclass(frozen=True)
class _Gathered:
    """What a pass over the calibration set fills."""

    watched: Watched
    statistics: dict[str, "Statistic"]
    """By the first linear of each group."""
    num_routed: Counter[str] = field(default_factory=Counter)
    """Number of counting tokens routed to each expert, by the name of its last matrix."""

    def take(self, counts: Counts, fed: Fed) -> None:
        """Give inputs to their statistic, or count the tokens of an expert."""
        if fed.x is not None:
            counts.feed(fed, self.statistics[fed.name])
        elif fed.tokens_P is not None:
            self.num_routed[fed.name] += counts.num_counting(fed.tokens_P)


SHARE_OF_ROOM = 0.5
"""The largest share of the memory left that the statistics of a block's experts take at once; solving needs the rest."""


class Walk:
    """The hidden states of the whole calibration set on their way through the blocks.

    `hidden_NLH` is what enters the block that comes next. `groups` says for each block which linears have the same input and
    so share one statistic: first linear of a group -> all of the group.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        calibration: "CalibrationSet",
        *,
        batch_size: int,
        experts: ExpertRule = ExpertRule(),  # noqa: B008 - frozen
    ) -> None:
        """Rehearse on a few tokens and fill the buffer with what enters the first block.

        Raises UserError when the set does not fit the model, the model cannot be walked, or its attention cannot be seen.
        """
        self._tokens_NL = _known_tokens(model, calibration)
        assert not model.training, "dropout must be off"
        self._model = model
        self._blocks = list(find_blocks(model))
        self._linears = [find_linears(block) for block in self._blocks]
        self._device = model.get_input_embeddings().weight.device
        self._attended_NL = calibration.attended().to(self._device)
        self._weights_NL = calibration.weights_NL.to(self._device)
        self._is_weighted = not bool((self._weights_NL == (self._weights_NL > 0)).all())
        self._batches = [slice(start, start + batch_size) for start in range(0, len(self._tokens_NL), batch_size)]
        self._kept: dict[int, list[Call]] = {}
        self._kept_bytes = 0
        self._by_block = calibration.by_block if isinstance(calibration, WeightedSet) else None
        self._real_NL = calibration.real_NL.to(self._device)
        with self._rehearsing():
            rehearsal = rehearse(model, self._blocks, self._linears, self._tokens_NL)
        self._rule = experts
        pools = experts.tokens is ExpertTokens.all
        self.groups = [
            one_group(groups, linears) if pools else groups
            for groups, linears in zip(rehearsal.groups, self._linears, strict=True)
        ]
        self._output_lengths = rehearsal.output_lengths
        self._sums: list[Tensor] = []
        self._enter()

    def collect(
        self, index: int, method: "StartsStatistic", wanted: Collection[str] | None = None, *, advance: bool = False
    ) -> BlockStatistics:
        """Return name -> statistic for the linears of a block, linears of one group with the same object.

        The hidden states stay as they are, and a batch stops at the input of the last group, unless token weights need what
        comes after; or, in the same pass, they `advance`, as after `Walk.advance` with these weights.
        `wanted` are the linears that need one, at least one; the others of their groups get it too. None means all.
        With experts among them the block may be passed once more for those that too few tokens came to, and to advance.
        """
        linears = self._linears[index]
        groups = {
            first: names
            for first, names in self.groups[index].items()
            if wanted is None or not set(names).isdisjoint(wanted)
        }
        has_experts = any(isinstance(linears[first], ExpertMatrix) for first in groups)
        pooled = [first for first in groups if self._rule.tokens is ExpertTokens.all]
        gathered = self._gather(index, method, groups, pooled, advance=advance and not has_experts)
        found = BlockStatistics({name: gathered.statistics[first] for first, names in groups.items() for name in names})
        found.routing = {}
        if has_experts:
            self._complete(index, method, groups, gathered, found)
            if advance:
                self.advance(index)
        return found

    def portions(self, index: int, method: "StartsStatistic", wanted: Collection[str]) -> list[list[str]]:
        """The wanted linears, experts last, in portions whose statistics fit beside each other in the room that is left.

        One, but for experts: pruning one of them changes no other's inputs, so that they can be seen in passes of their own,
        as long as the ordinary ones of the block stay dense.
        """
        linears, groups = self._linears[index], self.groups[index]
        layers = {linear.experts for linear in linears.values() if isinstance(linear, ExpertMatrix)}
        if len(layers) != 1 or not any(expert_of(name, linears) for name in wanted):
            return [list(wanted)]
        device = next(iter(linears.values())).weight.device
        with on_device(self._blocks[index]):
            limit = int(SHARE_OF_ROOM * room_on(device))
        sizes = {first: statistic_bytes(method, read_weight(linears[first]).shape[1], self._model.dtype) for first in groups}
        return in_portions(list(wanted), linears, groups, sizes, limit)

    def _gather(
        self,
        index: int,
        method: "StartsStatistic",
        groups: Mapping[str, Sequence[str]],
        pooled: Collection[str],
        *,
        advance: bool = False,
    ) -> _Gathered:
        """The statistics of groups from one pass over the calibration set."""
        counts_all = self._rule.tokens is ExpertTokens.all and self.has_experts(index)
        needs_all = advance or counts_all or (self._by_block is not None and bool(self._by_block.needs))
        last = None if needs_all else list(groups)[-1]
        linears, block = self._linears[index], self._blocks[index]
        with on_device(block):
            weights = {first: read_weight(linears[first]) for first in groups}
            statistics = {
                first: method.start_statistic(weight_OI.shape[1], weight_OI.device) for first, weight_OI in weights.items()
            }
            gathered = _Gathered(Watched(block, linears, groups, last, pooled, self._rule.router_weight), statistics)
            for batch in self._batches:
                hidden_BLH = self._feed(index, batch, gathered)
                if advance and hidden_BLH is not None:
                    self._put(batch, hidden_BLH)
        if advance:
            self._check_finite(f"leave block {index}")
        return gathered

    def _complete(
        self,
        index: int,
        method: "StartsStatistic",
        groups: Mapping[str, list[str]],
        gathered: _Gathered,
        found: BlockStatistics,
    ) -> None:
        """Say how many tokens each expert was pruned by, after a second pass for those that got too few."""
        linears = self._linears[index]
        num_routed = {expert_of(last, linears): num_tokens for last, num_tokens in gathered.num_routed.items()}
        of_experts = {first: names for first, names in groups.items() if isinstance(linears[first], ExpertMatrix)}
        few: dict[str, list[str]] = {}
        for first, names in of_experts.items():
            least = fewest_tokens(gathered.statistics[first]) if self._rule.min_tokens is None else self._rule.min_tokens
            if self._rule.tokens is ExpertTokens.routed and num_routed[expert_of(first, linears)] < least:
                few[first] = names
            for name in names:
                tokens = ExpertTokens.all if first in few else self._rule.tokens
                found.routing[name] = Routing(num_routed[expert_of(name, linears)], tokens)
        for first, names in few.items():
            del gathered.statistics[first]
            for name in names:
                del found[name]
        if few:
            merged = one_group(few, linears)
            pooled = self._gather(index, method, merged, merged)
            found |= {name: pooled.statistics[first] for first, names in merged.items() for name in names}

    def has_experts(self, index: int) -> bool:
        """Whether matrices of experts are among the linears of a block."""
        return any(isinstance(linear, ExpertMatrix) for linear in self._linears[index].values())

    def advance(self, index: int) -> None:
        """Replace the hidden states by what the block makes of them.

        Raises UserError when those of an attended token become infinite or NaN.
        """
        with on_device(self._blocks[index]):
            for batch in self._batches:
                self._put(batch, self._replay(index, batch, self._entering(index, batch)))
        self._check_finite(f"leave block {index}")

    @property
    def batches(self) -> Sequence[slice]:
        """The sequences of each forward pass."""
        return self._batches

    def forward(self, index: int, batch: slice) -> Tensor:
        """What a block makes of a batch of the hidden states, which stay as they are."""
        return self._replay(index, batch, self._entering(index, batch))

    def take(self, index: int, hidden_NLH: Tensor) -> None:
        """Let `hidden_NLH` be what leaves the block.

        Raises UserError when those of an attended token are infinite or NaN.
        """
        for batch in self._batches:
            self._put(batch, hidden_NLH[batch])
        self._check_finite(f"leave block {index}")

    def _feed(self, index: int, batch: slice, gathered: _Gathered) -> Tensor | None:
        """Give statistics the inputs of linears in a batch; return what leaves the block, None where it ends before.

        Inputs wait for weights that are known only at the end of the block.
        """
        entering_BLH = self._entering(index, batch)
        forward = partial(self._replay, index, batch, entering_BLH)
        if self._by_block is None:
            weights_BL = self._weights_NL[batch]
            counts = Counts(weights_BL, [self._is_weighted] * len(weights_BL))
            return run_watched(forward, gathered.watched, partial(gathered.take, counts))
        waiting: list[Fed] = []
        seen = SeenBatch(self._tokens_NL[batch], self._real_NL[batch], self._weights_NL[batch])
        with seen.watching(self._by_block) as received:
            hidden_BLH = run_watched(forward, gathered.watched, lambda fed: waiting.append(fed.copied()))
        try:
            counts = seen.count(self._by_block, entering_BLH, hidden_BLH, received)
        except UserError as error:
            raise UserError(f"block {index}: {error}") from error
        for fed in waiting:
            gathered.take(counts, fed)
        return hidden_BLH

    def _rehearsing(self) -> AbstractContextManager[None]:
        """Makes sure, while the blocks are rehearsed, that the attention of each is seen where the token weights need it."""
        if self._by_block is None or Need.attention not in self._by_block.needs:
            return nullcontext()
        return check_seen(self._model, self._blocks, self._tokens_NL[:1, -REHEARSAL_TOKENS:])

    def _enter(self) -> None:
        """Fill the buffer with what enters the first block, and keep the arguments of the batches that fit."""
        for batch in self._batches:
            hidden_BLH, calls = self._record(batch)
            if batch.start == 0:
                self.hidden_NLH = self._make_room(hidden_BLH)
            self._put(batch, hidden_BLH)
            self._keep(batch, calls)
        self._check_finite("enter the first block")

    def _put(self, batch: slice, hidden_BLH: Tensor) -> None:
        """Store the hidden states of a batch, and their sum, which is not finite where one of them is not."""
        self._sums.append(hidden_BLH.sum(dtype=torch.promote_types(hidden_BLH.dtype, torch.float32)))
        self.hidden_NLH[batch].copy_(hidden_BLH, non_blocking=True)

    def _make_room(self, hidden_BLH: Tensor) -> Tensor:
        """Room for the hidden states of all samples; in pinned memory of the host where a GPU's blocks are offloaded."""
        shape, dtype = (*self._tokens_NL.shape, hidden_BLH.shape[-1]), hidden_BLH.dtype
        if is_offloaded(self._blocks[0]):
            return torch.empty(shape, dtype=dtype, pin_memory=self._device.type == "cuda")
        return torch.empty(shape, dtype=dtype, device=hidden_BLH.device)

    def _record(self, batch: slice) -> tuple[Tensor, list[Call]]:
        tokens_BL = self._tokens_NL[batch].to(self._device)
        with torch.no_grad():
            return record_calls(self._model, self._blocks, self._output_lengths, tokens_BL, self._attended_NL[batch])

    def _keep(self, batch: slice, calls: list[Call]) -> None:
        """Keep the arguments of a batch, as long as they are small, or those of the first batch where they are equal."""
        first = next(iter(self._kept.values()), None)
        if first is not None and same_calls(calls, first):
            self._kept[batch.start] = first
            return
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in _all_tensors(calls)}
        num_bytes = sum(storages.values())
        if self._kept_bytes + num_bytes <= CALL_CACHE_BYTES:
            self._kept[batch.start] = calls
            self._kept_bytes += num_bytes

    def _replay(self, index: int, batch: slice, entering_BLH: Tensor) -> Tensor:
        calls = self._kept.get(batch.start) or self._record(batch)[1]
        with one_by_one(self._blocks[index]):
            return calls[index].replay(self._blocks[index], entering_BLH)

    def _entering(self, index: int, batch: slice) -> Tensor:
        """The hidden states of a batch, where the block is."""
        there = next(iter(self._linears[index].values())).weight.device
        return self.hidden_NLH[batch].to(there, non_blocking=True)

    def _check_finite(self, what: str) -> None:
        sums, self._sums = self._sums, []
        if bool(torch.stack(sums).isfinite().all()):
            return  # else it may be padding, or a sum too large
        for batch in self._batches:
            finite_BLH = self.hidden_NLH[batch].isfinite()
            if not bool((finite_BLH.all(dim=-1) | ~self._attended_NL[batch].to(finite_BLH.device)).all()):
                raise UserError(
                    f"Hidden states that {what} are infinite or not a number. The weights may be damaged, or "
                    f"{self.hidden_NLH.dtype} too narrow: try model.dtype=bfloat16 or float32."
                )


def _all_tensors(calls: Sequence[Call]) -> Iterator[Tensor]:
    for call in calls:
        yield from call.tensors()


def _known_tokens(model: "PreTrainedModel", calibration: "CalibrationSet") -> Tensor:
    """The tokens of a set; padding that nothing sees and that the embedding does not have, as of a tokenizer with a pad
    token of its own, is 0.

    Raises:
        UserError: a sample is empty, or has real tokens that the embedding does not have.
    """
    tokens_NL, weights_NL = calibration.tokens_NL, calibration.weights_NL
    assert tokens_NL.dim() == 2 and tokens_NL.shape == weights_NL.shape, (tokens_NL.shape, weights_NL.shape)
    assert bool(((weights_NL >= 0) & weights_NL.isfinite()).all()), "a token counts 0 or more"
    empty = (~calibration.attended().any(dim=1)).nonzero().flatten().tolist()
    if empty or not len(tokens_NL):
        raise UserError(f"Samples {empty} of {len(tokens_NL)} in the calibration set have no real token; build it again.")
    embedding = model.get_input_embeddings().weight
    assert isinstance(embedding, Tensor), type(embedding)
    num_embeddings = embedding.shape[0]
    unseen_NL = ~calibration.attended() & (tokens_NL >= num_embeddings)
    tokens_NL = tokens_NL.masked_fill(unseen_NL, 0)
    low, high = int(tokens_NL.min()), int(tokens_NL.max())
    if low < 0 or high >= num_embeddings:
        is_padding = bool((~calibration.real_NL)[tokens_NL >= num_embeddings].all()) and low >= 0
        why = "that is the pad token, which calib.compat=study counts" if is_padding else "its tokenizer is not this model's"
        raise UserError(
            f"The calibration set has token ids from {low} to {high}, but the model knows only 0 to "
            f"{num_embeddings - 1}: {why}."
        )
    return tokens_NL
