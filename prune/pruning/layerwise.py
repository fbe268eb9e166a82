"""Pruning block by block: statistics of a block's linears, new weights, and on to the next block with the pruned outputs.

Source: Wanda (arXiv 2306.11695) and SparseGPT (arXiv 2301.00774) do so; hidden_states.py takes the hidden states along, and
propagation.py has the other way, with dense outputs.

Shapes: O out, I in.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prune.calib.calibration_set import CalibrationSet
from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, read_weight, write_weight
from prune.models.offload import on_device
from prune.pruning.grouped import GroupPruner
from prune.pruning.hidden_states import Walk
from prune.pruning.linear_report import LinearReport
from prune.pruning.method import all_finite
from prune.pruning.propagation import Inputs, PrunedInputs
from prune.pruning.sparsity import NM, Pattern
from prune.pruning.targets import block_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.models.blocks import Linear
    from prune.pruning.method import Method, Pruned

SPARSITY_TOLERANCE = 1e-3
"""How far from the asked share a method may end that does not aim at a count (Wanda's variant)."""


def prune_model(
    model: "PreTrainedModel",
    calibration: CalibrationSet | Inputs | None,
    method: "Method",
    pattern: Pattern | Mapping[str, Pattern],
    *,
    batch_size: int = 8,
    seed: int = 0,
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
        inputs = _start_inputs(model, calibration, method, last, batch_size) if method.needs_inputs else None
        for index, named in enumerate(linears):
            chosen = {name: patterns[key] for name in named if (key := f"{index}.{name}") in patterns}
            of_block = inputs if index <= last else None
            with on_device(blocks[index], changes=True):
                reports += _prune_block(index, named, chosen, method, of_block, seed, on_mask)
                if of_block:
                    of_block.leave(index)
            on_block(index + 1, len(blocks))
    return reports


def _start_inputs(
    model: "PreTrainedModel", calibration: CalibrationSet | Inputs | None, method: "Method", last: int, batch_size: int
) -> Inputs:
    assert calibration is not None, f"{method.name} needs a calibration set"
    if isinstance(calibration, CalibrationSet):
        return PrunedInputs(Walk(model, calibration, batch_size=batch_size), method, last)
    return calibration


def _prune_block(
    index: int,
    named: Mapping[str, "Linear"],
    chosen: Mapping[str, Pattern],
    method: "Method",
    inputs: Inputs | None,
    seed: int,
    on_mask: Callable[[int, str, Tensor], None],
) -> Iterator[LinearReport]:
    """Prune the chosen linears of a block; when it is done, nothing of the block or its statistics is held any more."""
    statistics = inputs.enter(index, chosen) if inputs else {}
    weights = {name: read_weight(named[name]) for name in chosen}
    group = GroupPruner(method, weights, statistics, chosen)
    for name, linear in named.items():
        if name in chosen:
            report, mask_OI = _prune_linear(linear, group, chosen[name], block=index, name=name, seed=seed)
            on_mask(index, name, mask_OI)
            yield report
        else:
            yield _skipped(linear, index, name)


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
    missing = pattern.ratio * report.num_weights - report.num_removed
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
    _check_pruned(linear, pruned, block, name)
    write_weight(linear, pruned.weight_OI)
    num_removed = int(pruned.mask_OI.count_nonzero())
    report = replace(
        _skipped(linear, block, name),
        error=pruned.error,
        seconds=time.perf_counter() - started,
        num_removed=num_removed,
        asked=pattern.ratio,
        skipped=False,
        ties=None if pruned.num_ties is None else pruned.num_ties / max(num_removed, 1),
    )
    return report, pruned.mask_OI


def _skipped(linear: "Linear", block: int, name: str) -> LinearReport:
    """The report of a linear that was left as it is now."""
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
