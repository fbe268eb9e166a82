"""Pruning block by block: statistics of a block's linears, new weights, and on to the next block with the pruned outputs.

Source: Wanda (arXiv 2306.11695) and SparseGPT (arXiv 2301.00774) do so; hidden_states.py takes the hidden states along, and
propagation.py has the other way, with dense outputs.

Shapes: O out, I in.
"""

import hashlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prune.calib.calibration_set import CalibrationSet
from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, read_weight, write_weight
from prune.models.offload import on_device
from prune.pruning.expert_inputs import ExpertRule, Routing, expert_of
from prune.pruning.grouped import GroupPruner
from prune.pruning.hidden_states import Walk
from prune.pruning.linear_report import LinearReport
from prune.pruning.method import all_finite, without
from prune.pruning.propagation import Inputs, PrunedInputs
from prune.pruning.sparsity import NM, Pattern, zeros_to_keep
from prune.pruning.targets import block_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.models.blocks import Linear
    from prune.pruning.method import Method, Pruned, Statistic
    from prune.pruning.reconstruct import Reconstruction

SPARSITY_TOLERANCE = 1e-3
"""How far from the asked share a method that does not aim at a count (Wanda's variant) may end."""


def prune_model(
    model: "PreTrainedModel",
    calibration: CalibrationSet | Inputs | None,
    method: "Method",
    pattern: Pattern | Mapping[str, Pattern],
    *,
    batch_size: int = 8,
    seed: int = 0,
    experts: ExpertRule = ExpertRule(),  # noqa: B008 - frozen
    reconstruction: "Callable[[Iterable[str]], Reconstruction] | None" = None,
    on_mask: Callable[[int, str, Tensor], None] = lambda block, name, mask_OI: None,
    on_block: Callable[[int, int], None] = lambda num_done, num_blocks: None,
) -> list[LinearReport]:
    """Prune linears of all blocks in place and return a report for each, in the order of the walk, skipped ones included.

    Args:
        model: in evaluation mode; float16, bfloat16, float32 or float64.
        calibration: a set passes through the pruned blocks, as published; `Inputs` have their statistics from elsewhere. A
            method that needs no inputs looks at neither.
        method: chooses the weights.
        pattern: which weights may go together: for all linears, or for each that is to be pruned, by `<block>.<name>`.
        batch_size: sequences in one forward pass.
        seed: draws what a method draws, for each linear on its own.
        experts: which tokens experts are pruned by; `Inputs` know it themselves.
        reconstruction: makes, of the names of what is pruned, what refits the kept weights of each block.
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
        inputs = _start_inputs(model, calibration, method, last, batch_size, experts) if method.needs_inputs else None
        refit = reconstruction(patterns) if reconstruction else None
        for index, named in enumerate(linears):
            chosen = {name: patterns[key] for name in named if (key := f"{index}.{name}") in patterns}
            of_block = inputs if index <= last else None
            with on_device(blocks[index], changes=True):
                if refit:
                    refit.enter(index)
                of_this = list(_prune_block(index, named, chosen, method, of_block, seed, on_mask))
                reports += refit.leave(of_this) if refit else of_this
                if of_block:
                    of_block.leave(index)
            on_block(index + 1, len(blocks))
    return reports


def _start_inputs(
    model: "PreTrainedModel",
    calibration: CalibrationSet | Inputs | None,
    method: "Method",
    last: int,
    batch_size: int,
    experts: ExpertRule,
) -> Inputs:
    assert calibration is not None, f"{method.name} needs a calibration set"
    if isinstance(calibration, CalibrationSet):
        return PrunedInputs(Walk(model, calibration, batch_size=batch_size, experts=experts), method, last)
    return calibration


def _prune_block(
    index: int,
    named: Mapping[str, "Linear"],
    chosen: Mapping[str, Pattern],
    method: "Method",
    inputs: Inputs | None,
    seed: int,
    on_mask: Callable[[int, str, Tensor], None],
) -> list[LinearReport]:
    """Prune the chosen linears of a block; when it is done, nothing of the block or its statistics is held any more."""
    found: dict[str, LinearReport] = {}

    def prune(names: Collection[str], statistics: Mapping[str, "Statistic"]) -> None:
        patterns = {name: chosen[name] for name in names}
        routing: Mapping[str, Routing] = getattr(statistics, "routing", {})
        groups = _groups(named, patterns, method, statistics)
        for name in names:
            report, mask_OI = _prune_linear(named[name], groups[name], chosen[name], block=index, name=name, seed=seed)
            on_mask(index, name, mask_OI)
            seen = routing.get(name)
            found[name] = replace(report, tokens=seen.num_tokens, statistic=seen.tokens.value) if seen else report

    if inputs is None:
        prune(chosen, {})
        return _in_order(named, found, index)
    first, *others = inputs.portions(index, chosen)
    last = [name for name in first if others and expert_of(name, named) is None]
    statistics = inputs.enter(index, first)
    kept = {name: statistics[name] for name in last}
    prune([name for name in first if name not in kept], statistics)
    for portion in others:
        statistics = {}  # before there are others
        prune(portion, inputs.enter(index, portion))
    prune(last, kept)  # what enters experts depends on them
    return _in_order(named, found, index)


def _in_order(named: Mapping[str, "Linear"], found: Mapping[str, LinearReport], index: int) -> list[LinearReport]:
    return [found[name] if name in found else _skipped(linear, index, name) for name, linear in named.items()]


def _groups(
    named: Mapping[str, "Linear"],
    chosen: Mapping[str, Pattern],
    method: "Method",
    statistics: Mapping[str, "Statistic"],
) -> dict[str, GroupPruner]:
    """Name -> what prunes it: one for each expert, as all experts that share a statistic would be too much at once."""
    own: dict[tuple[int, int] | None, dict[str, Pattern]] = {}
    for name, pattern in chosen.items():
        own.setdefault(expert_of(name, named), {})[name] = pattern
    groups = {
        key: GroupPruner(method, {name: read_weight(named[name]) for name in patterns}, statistics, patterns)
        for key, patterns in own.items()
    }
    return {name: groups[expert_of(name, named)] for name in chosen}


def check_reached(pattern: Pattern | Mapping[str, Pattern], method: "Method", reports: Sequence[LinearReport]) -> None:
    """Raise UserError unless every linear lost what was asked, by the counts of the masks.

    N:M is exact. Unstructured is exact up to rounding down in each group of weights that a method compares (a row, a set of
    columns, the matrix): less than one weight for each row or column. Wanda's variant may be off by 0.001 either way. Where
    zeros are preserved, some of those that were there may go beyond that.
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
    missing = pattern.ratio * report.num_weights - report.num_removed
    if report.num_zero_before and -report.num_zero_before <= missing < 0:
        return True
    if isinstance(pattern, NM):
        return abs(missing) < 0.5
    if getattr(method, "variant", False):
        return abs(missing) <= SPARSITY_TOLERANCE * report.num_weights + 1e-6
    return -1e-6 <= missing < max(report.shape)


def _prune_linear(
    linear: "Linear", group: GroupPruner, pattern: Pattern, *, block: int, name: str, seed: int
) -> tuple[LinearReport, Tensor]:
    started = time.perf_counter()
    try:
        pruned = group.prune(name, _generator(seed, block, name))
    except UserError as error:
        dtype = str(read_weight(linear).dtype).removeprefix("torch.")
        raise type(error)(f"block {block}, {name} ({dtype}): {error}") from error
    pruned, num_zero = _with_zeros(pruned, read_weight(linear), pattern)
    _check_pruned(linear, pruned, block, name)
    output_error = group.output_error(name, pruned.weight_OI)
    write_weight(linear, pruned.weight_OI)
    num_removed = int(pruned.mask_OI.count_nonzero())
    report = replace(
        _skipped(linear, block, name),
        error=pruned.error,
        output_error=output_error,
        num_zero_before=num_zero,
        seconds=time.perf_counter() - started,
        num_removed=num_removed,
        asked=pattern.ratio,
        skipped=False,
        ties=None if pruned.num_ties is None else pruned.num_ties / max(num_removed, 1),
    )
    return report, pruned.mask_OI


def _with_zeros(pruned: "Pruned", dense_OI: Tensor, pattern: Pattern) -> "tuple[Pruned, int | None]":
    """(the linear with the zeros that it must keep counted as removed, their number), whatever the method made of them."""
    zero_OI = zeros_to_keep(dense_OI, pattern)
    if zero_OI is None:
        return pruned, None
    mask_OI = pruned.mask_OI | zero_OI
    return replace(pruned, weight_OI=without(pruned.weight_OI, mask_OI), mask_OI=mask_OI), int(zero_OI.count_nonzero())


def _skipped(linear: "Linear", block: int, name: str) -> LinearReport:
    """The report of a linear that was skipped."""
    weight_OI = read_weight(linear)
    num_zero = weight_OI.numel() - int(weight_OI.bool().count_nonzero())
    return LinearReport(
        block=block,
        name=name,
        shape=(weight_OI.shape[0], weight_OI.shape[1]),
        num_zero=num_zero,
        num_weights=weight_OI.numel(),
        sparsity=num_zero / weight_OI.numel(),
        error=None,
        seconds=0.0,
        num_removed=0,
        skipped=True,
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
    for key, of_linear in patterns.items():
        block, _, name = key.partition(".")
        of_linear.check(widths[key], f"block {block}, {name}")
    return patterns
