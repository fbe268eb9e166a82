"""The walk over the blocks: statistics of a block's linears, new weights, and on to the next block with the pruned outputs.

Source: Wanda (arXiv 2306.11695) and SparseGPT (arXiv 2301.00774) walk like this; prune/replay.py says how a block
is called. Only one buffer of hidden states is held, and it is overwritten block by block.

Shapes: N samples, L tokens, B sequences in a batch, T tokens in all, O out, I in, H hidden.
"""

import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prune.errors import UserError
from prune.methods.method import all_finite
from prune.methods.together import Together
from prune.models import find_blocks, find_linears, read_weight, write_weight
from prune.replay import Call, record_calls, rehearse, same_calls
from prune.sparsity import NM, Pattern
from prune.targets import block_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.methods import Method, Pruned, Statistic
    from prune.models import Linear

CALL_CACHE_BYTES = 256 * 2**20
"""Masks and rotary tables of so many bytes are kept; those of further batches are computed anew for each block."""

SPARSITY_TOLERANCE = 1e-3
"""How far from the asked share a method may end that does not aim at a count (Wanda's variant)."""


@dataclass(frozen=True)
class LinearReport:
    """What became of one linear."""

    block: int
    name: str
    """Inside its block."""
    shape: tuple[int, int]
    """O x I."""
    num_zero: int
    """Weights that are 0 now, also those that were 0 before."""
    num_weights: int
    sparsity: float
    """num_zero / num_weights."""
    error: float | None
    """The method's estimate of the relative squared output error."""
    seconds: float
    """For choosing and writing the weights, without the statistics; linears pruned together count at the first of them."""
    num_removed: int
    """Weights that the mask removes, also where the dense weight was 0 already."""
    asked: float = 0.0
    """Share of its weights that was to go."""
    skipped: bool = False
    """Left as it was, by method.targets and method.skip."""


def prune_model(
    model: "PreTrainedModel",
    tokens_NL: Tensor | None,
    mask_NL: Tensor | None,
    method: "Method",
    pattern: Pattern | Mapping[str, Pattern],
    *,
    batch_size: int,
    seed: int,
    padding_in_statistics: bool = False,
    on_linear: Callable[[LinearReport], None] = lambda report: None,
    on_mask: Callable[[int, str, Tensor], None] = lambda block, name, mask_OI: None,
    on_block: Callable[[int, int], None] = lambda num_done, num_blocks: None,
) -> list[LinearReport]:
    """Prune linears of all blocks in place and return a report for each, in the order of the walk, skipped ones included.

    Args:
        model: in evaluation mode; float16, bfloat16, float32 or float64.
        tokens_NL: the calibration set; may be None, like the mask, when the method needs no inputs.
        mask_NL: True = real token. Padding is neither attended nor part of a statistic.
        method: chooses the weights.
        pattern: which weights may go together: for all linears, or for each that is to be pruned, by `<block>.<name>`.
        batch_size: sequences in one forward pass.
        seed: draws what a method draws, for each linear on its own.
        padding_in_statistics: the study's habit: padding counts as real, so it is attended and enters the statistics.
        on_linear: called with each report.
        on_mask: called with the block's number, the linear's name and its mask O x I; not for skipped linears.
        on_block: called after each block with the number of blocks done, and of all blocks.

    Raises:
        UserError: before anything is changed, when the model, the pattern or the calibration set does not fit; later when a
            method cannot go on or hidden states overflow, with the block named.
    """
    blocks = find_blocks(model)
    linears = [find_linears(block) for block in blocks]
    patterns = _check_patterns(pattern, method, linears)
    last = max(block_of(name) for name in patterns)
    reports: list[LinearReport] = []
    with torch.no_grad():
        walk = None
        if method.needs_inputs:
            assert tokens_NL is not None and mask_NL is not None, f"{method.name} needs a calibration set"
            real_NL = torch.ones_like(mask_NL) if padding_in_statistics else mask_NL
            walk = Walk(model, tokens_NL, real_NL, batch_size=batch_size)
        for index, named in enumerate(linears):
            chosen = {name: patterns[key] for name in named if (key := f"{index}.{name}") in patterns}
            statistics = walk.collect(index, method, chosen) if walk and chosen else {}
            weights = {name: read_weight(named[name]) for name in chosen}
            together = Together(method, weights, statistics, chosen)
            for name, linear in named.items():
                if name in chosen:
                    report, mask_OI = _prune_linear(linear, together, chosen[name], block=index, name=name, seed=seed)
                    on_mask(index, name, mask_OI)
                else:
                    report = _report(linear, block=index, name=name, skipped=True)
                reports.append(report)
                on_linear(report)
            if walk and index < last:
                walk.advance(index)
            on_block(index + 1, len(blocks))
    return reports


def check_reached(pattern: Pattern | Mapping[str, Pattern], method: "Method", reports: Sequence[LinearReport]) -> None:
    """Raise UserError unless every linear lost what was asked, by the counts of the masks.

    N:M is exact. Unstructured is exact up to rounding down in each group of weights that a method compares (a row, a set of
    columns, the matrix): less than one weight for each row or column. Wanda's variant may be off by 0.001 either way.
    `pattern` is what prune_model got; a linear that was skipped lost nothing.
    """
    for report in reports:
        if report.skipped:
            assert report.num_removed == 0, report
            continue
        of_linear = pattern[f"{report.block}.{report.name}"] if isinstance(pattern, Mapping) else pattern
        if not _is_reached(of_linear, method, report):
            raise UserError(
                f"block {report.block}, {report.name}: sparsity {of_linear} was asked of method {method.name}, but "
                f"{report.num_removed} of {report.num_weights} weights were removed."
            )


def _is_reached(pattern: Pattern, method: "Method", report: LinearReport) -> bool:
    asked = 0.0 if method.name == "dense" else pattern.ratio * report.num_weights
    missing = asked - report.num_removed
    if method.name == "dense" or isinstance(pattern, NM):
        return abs(missing) < 0.5
    if getattr(method, "variant", False):
        return abs(missing) <= SPARSITY_TOLERANCE * report.num_weights + 1e-6
    return -1e-6 <= missing < max(report.shape)


class Walk:
    """The hidden states of the whole calibration set on their way through the blocks.

    `hidden_NLH` is what enters the block that comes next. `groups` says for each block which linears have the same input and
    so share one statistic: first linear of a group -> all of the group.
    """

    def __init__(self, model: "PreTrainedModel", tokens_NL: Tensor, mask_NL: Tensor, *, batch_size: int) -> None:
        """Rehearse on a few tokens and fill the buffer with what enters the first block.

        Raises UserError when the set does not fit the model, or the model cannot be walked.
        """
        _check_calibration(model, tokens_NL, mask_NL)
        assert not model.training, "dropout must be off"
        self._model = model
        self._blocks = list(find_blocks(model))
        self._linears = [find_linears(block) for block in self._blocks]
        self._tokens_NL = tokens_NL
        self._mask_NL = mask_NL.to(model.device)
        self._batches = [slice(start, start + batch_size) for start in range(0, len(tokens_NL), batch_size)]
        self._kept: dict[int, list[Call]] = {}
        self._kept_bytes = 0
        rehearsal = rehearse(model, self._blocks, self._linears, tokens_NL)
        self.groups = rehearsal.groups
        self._output_lengths = rehearsal.output_lengths
        self.hidden_NLH = self._enter()

    def collect(self, index: int, method: "Method", wanted: Collection[str] | None = None) -> dict[str, "Statistic"]:
        """Return name -> statistic for the linears of a block, linears of one group with the same object.

        The hidden states stay as they are. A batch stops at the input of the last group, whose output nobody needs.
        `wanted` are the linears that need one, at least one; the others of their groups get it too. None means all.
        """
        linears = self._linears[index]
        groups = {
            first: names
            for first, names in self.groups[index].items()
            if wanted is None or not set(names).isdisjoint(wanted)
        }
        statistics = {
            first: method.start_statistic(read_weight(linears[first]).shape[1], self._model.device) for first in groups
        }
        last = list(groups)[-1]
        for batch in self._batches:
            mask_BL = self._mask_NL[batch]
            with _Feeding(linears, statistics, mask_BL, last):
                try:
                    self._replay(index, batch)
                except _LastInputSeen:
                    continue
        return {name: statistics[first] for first, names in groups.items() for name in names}

    def advance(self, index: int) -> None:
        """Replace the hidden states by what the block makes of them.

        Raises UserError when a real token's become infinite or NaN.
        """
        for batch in self._batches:
            self.hidden_NLH[batch] = self._replay(index, batch)
        self._check_finite(self.hidden_NLH, f"leave block {index}")

    def _enter(self) -> Tensor:
        """Return what enters the first block, and keep the arguments of the batches that fit."""
        hidden_NLH = torch.empty(0)
        for batch in self._batches:
            hidden_BLH, calls = self._record(batch)
            if batch.start == 0:
                hidden_NLH = hidden_BLH.new_empty(*self._tokens_NL.shape, hidden_BLH.shape[-1])
            hidden_NLH[batch] = hidden_BLH
            self._keep(batch, calls)
        self._check_finite(hidden_NLH, "enter the first block")
        return hidden_NLH

    def _record(self, batch: slice) -> tuple[Tensor, list[Call]]:
        tokens_BL = self._tokens_NL[batch].to(self._model.device)
        return record_calls(self._model, self._blocks, self._output_lengths, tokens_BL, self._mask_NL[batch])

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

    def _replay(self, index: int, batch: slice) -> Tensor:
        calls = self._kept.get(batch.start) or self._record(batch)[1]
        return calls[index].replay(self._blocks[index], self.hidden_NLH[batch])

    def _check_finite(self, hidden_NLH: Tensor, what: str) -> None:
        if all_finite(hidden_NLH):
            return  # else it may be padding
        for batch in self._batches:
            finite_BL = hidden_NLH[batch].isfinite().all(dim=-1) | ~self._mask_NL[batch]
            if not bool(finite_BL.all()):
                raise UserError(
                    f"Hidden states that {what} are infinite or not a number. The weights may be damaged, or "
                    f"{hidden_NLH.dtype} too narrow: try model.dtype=bfloat16 or float32."
                )


class _LastInputSeen(Exception):  # noqa: N818 - not an error
    """Ends the forward pass of a block early."""


class _Feeding:
    """Forward pre-hooks that give the inputs of real tokens to statistics, for the time of a `with`."""

    def __init__(
        self, linears: Mapping[str, "Linear"], statistics: Mapping[str, "Statistic"], mask_BL: Tensor, last: str
    ) -> None:
        self._linears, self._statistics, self._last = linears, statistics, last
        self._mask_T = None if bool(mask_BL.all()) else mask_BL.reshape(-1)
        self._num_tokens = mask_BL.numel()
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        for name in self._statistics:
            self._handles.append(self._linears[name].register_forward_pre_hook(self._hook(name)))

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def feed(module: nn.Module, args: tuple[Any, ...]) -> None:
            x_TI = args[0].reshape(-1, args[0].shape[-1])
            assert len(x_TI) == self._num_tokens, f"{name} saw {len(x_TI)} of {self._num_tokens} tokens"
            self._statistics[name].add(x_TI if self._mask_T is None else x_TI[self._mask_T])
            if name == self._last:
                raise _LastInputSeen

        return feed


def _all_tensors(calls: Sequence[Call]) -> Iterator[Tensor]:
    for call in calls:
        yield from call.tensors()


def _prune_linear(
    linear: "Linear", together: Together, pattern: Pattern, *, block: int, name: str, seed: int
) -> tuple[LinearReport, Tensor]:
    started = time.perf_counter()
    try:
        pruned = together.prune(name, _generator(seed, block, name))
    except UserError as error:
        raise type(error)(f"block {block}, {name}: {error}") from error
    _check_pruned(linear, pruned, block, name)
    write_weight(linear, pruned.weight_OI)
    report = _report(
        linear,
        block=block,
        name=name,
        error=pruned.error,
        seconds=time.perf_counter() - started,
        num_removed=int(pruned.mask_OI.sum()),
        asked=pattern.ratio,
    )
    return report, pruned.mask_OI


def _report(
    linear: "Linear",
    *,
    block: int,
    name: str,
    error: float | None = None,
    seconds: float = 0.0,
    num_removed: int = 0,
    asked: float = 0.0,
    skipped: bool = False,
) -> LinearReport:
    """What is to be said of a linear as it is now."""
    weight_OI = read_weight(linear)
    num_zero = weight_OI.numel() - int(weight_OI.bool().count_nonzero())
    return LinearReport(
        block=block,
        name=name,
        shape=(weight_OI.shape[0], weight_OI.shape[1]),
        num_zero=num_zero,
        num_weights=weight_OI.numel(),
        sparsity=num_zero / weight_OI.numel(),
        error=error,
        seconds=seconds,
        num_removed=num_removed,
        asked=asked,
        skipped=skipped,
    )


def _generator(seed: int, block: int, name: str) -> torch.Generator:
    """Return a generator on the CPU that depends on nothing but these three."""
    digest = hashlib.sha256(f"{seed}/{block}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _check_pruned(linear: "Linear", pruned: "Pruned", block: int, name: str) -> None:
    shape = read_weight(linear).shape
    assert pruned.weight_OI.shape == shape == pruned.mask_OI.shape, (pruned.weight_OI.shape, pruned.mask_OI.shape, shape)
    assert not (pruned.weight_OI.bool() & pruned.mask_OI).count_nonzero(), "a removed weight is not 0"
    if not all_finite(pruned.weight_OI):
        raise UserError(f"block {block}, {name}: the new weights are infinite or not a number.")


def _check_patterns(
    pattern: Pattern | Mapping[str, Pattern], method: "Method", linears: Sequence[Mapping[str, "Linear"]]
) -> Mapping[str, Pattern]:
    """Return `<block>.<name>` -> pattern of what is to be pruned, after checking each, before the first is changed."""
    widths = {
        f"{index}.{name}": read_weight(linear).shape[1]
        for index, named in enumerate(linears)
        for name, linear in named.items()
    }
    patterns = pattern if isinstance(pattern, Mapping) else dict.fromkeys(widths, pattern)
    assert patterns and patterns.keys() <= widths.keys(), patterns.keys() - widths.keys()
    if method.name != "dense":
        for key, of_linear in patterns.items():
            block, _, name = key.partition(".")
            of_linear.check(widths[key], f"block {block}, {name}")
    return patterns


def _check_calibration(model: "PreTrainedModel", tokens_NL: Tensor, mask_NL: Tensor) -> None:
    assert tokens_NL.dim() == 2 and tokens_NL.shape == mask_NL.shape, (tokens_NL.shape, mask_NL.shape)
    empty = (~mask_NL.any(dim=1)).nonzero().flatten().tolist()
    if empty or not len(tokens_NL):
        raise UserError(f"Samples {empty} of {len(tokens_NL)} in the calibration set have no real token; build it again.")
    embedding = model.get_input_embeddings().weight
    assert isinstance(embedding, Tensor), type(embedding)
    num_embeddings = embedding.shape[0]
    low, high = int(tokens_NL.min()), int(tokens_NL.max())
    if low < 0 or high >= num_embeddings:
        raise UserError(
            f"The calibration set has token ids from {low} to {high}, but the model knows only 0 to {num_embeddings - 1}: "
            "its tokenizer is not this model's."
        )
