"""The work of a cell's calibration set and of its pruning, in operations that a machine has a rate for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from prune.calib.generated import KEEP_SHARE
from prune.calib.recipe import Recipe
from prune.calib.registry import build_selector
from prune.cell.identity import propagation, reconstruction
from prune.config.config import Config
from prune.config.method import Propagation
from prune.config.sparsity import Allocation, UnstructuredConfig
from prune.data.dataset import GeneratedSet, TextSet
from prune.pruning.methods.dense import DenseConfig
from prune.pruning.registry import needs_attention, needs_inputs
from prune.sweep.cost.rate import THIN_ROWS, Rate
from prune.sweep.cost.shape import ModelShape

COPY_BYTES_PER_S = 1e9
"""Of weights that are read, copied and hashed; not measured."""
REFIT_PASSES = 3
"""What an epoch of reconstruct=block takes, with its gradients; as much go once for its targets and its two errors."""
ATTENTION_TIMES = 4
"""What watched attention costs, relative to fused attention."""


@dataclass(frozen=True, slots=True)
class Work:
    """Operations of each kind that `Rate` knows."""

    flops: float = 0
    head_flops: float = 0
    solve_flops: float = 0
    weights: float = 0
    thin_flops: float = 0
    seconds: float = 0
    """Seconds of work for which no rate is measured."""

    def __add__(self, other: Work) -> Work:
        mine, its = _values(self), _values(other)
        return Work(*(first + second for first, second in zip(mine, its, strict=True)))

    def takes(self, rate: Rate) -> float:
        """The seconds that it takes."""
        of_kinds = [
            *(self.flops / rate.flops, self.head_flops / rate.head_flops, self.solve_flops / rate.solve_flops),
            *(self.weights / rate.weights, self.thin_flops / rate.thin_flops),
        ]
        return sum(of_kinds) + self.seconds


def _values(work: Work) -> tuple[float, ...]:
    return work.flops, work.head_flops, work.solve_flops, work.weights, work.thin_flops, work.seconds


def total(works: Sequence[Work]) -> Work:
    """The sum."""
    return sum(works, Work())


def forward(shape: ModelShape, num_tokens: float, seq_len: float, *, head: float = 0) -> Work:
    """One pass of tokens through all blocks, with the logits of `head` tokens."""
    return Work(flops=shape.num_blocks * shape.block_flops(num_tokens, seq_len), head_flops=shape.head_flops(head))


def writing(shape: ModelShape, num_steps: float, num_rows: float, seq_len: float) -> Work:
    """Steps of writing, each of which adds a token to every row; below THIN_ROWS rows a step takes as long as with so
    many."""
    rows = max(num_rows, THIN_ROWS)
    step = shape.num_blocks * shape.block_flops(rows, seq_len)
    return Work(thin_flops=num_steps * step, head_flops=shape.head_flops(num_steps * num_rows))


def copying(shape: ModelShape, times: float = 1) -> Work:
    """Dense weights that are brought back, and pruned ones that are hashed."""
    return Work(seconds=times * 4 * shape.num_weights / COPY_BYTES_PER_S)


def work_of_set(recipe: Recipe, shape: ModelShape) -> Work:
    """What the dense model does for a set: it writes it, chooses among candidates, and its perplexity is measured."""
    calib = recipe.calib
    num_tokens = calib.num_samples * calib.seq_len
    made = [_making(part, shape) for part in recipe.parts or (recipe,)]
    return total([*made, forward(shape, num_tokens, calib.seq_len, head=num_tokens)])


def _making(recipe: Recipe, shape: ModelShape) -> Work:
    calib, kind = recipe.calib, recipe.kind
    dataset, selector = kind.dataset, build_selector(kind.select)
    pool = calib.num_samples * calib.seq_len * (recipe.select.pool if selector is not None else 1)
    work = Work()
    keep = calib.keep_share if calib.keep_share is not None else KEEP_SHARE if isinstance(dataset, GeneratedSet) else 1.0
    candidates = pool / keep
    if isinstance(dataset, GeneratedSet):
        length = calib.max_new_tokens
        rows = min(calib.generation_batch, ceil(candidates / length))
        work += writing(shape, candidates / rows, rows, length / 2)
    if keep < 1 and isinstance(dataset, TextSet | GeneratedSet):
        work += forward(shape, candidates, calib.seq_len, head=candidates)
    if selector is not None and selector.needs_model:
        work += forward(shape, pool, calib.seq_len, head=pool)
    return work


def work_of_pruning(config: Config, shape: ModelShape, recipe: Recipe | None, *, passes_again: bool = True) -> Work:
    """Passes of the calibration set, the statistics of the inputs, and the new weights of every linear.

    Args:
        passes_again: whether the set passes for this cell; false where another cell's pass through the dense model serves.
    """
    method = config.method
    if isinstance(method, DenseConfig):
        return Work()
    work = Work(weights=shape.num_blocks * shape.block_weights)
    solved = sum(method.solve_flops(outputs, inputs) for outputs, inputs in shape.linears)
    work += Work(solve_flops=shape.num_blocks * solved) + copying(shape, 2)
    if recipe is None:
        return work
    num_tokens = recipe.calib.num_samples * recipe.calib.seq_len
    if passes_again and needs_inputs(method):
        statistics = sum(method.statistic_flops(inputs, num_tokens) for inputs in shape.inputs)
        work += Work(solve_flops=shape.num_blocks * statistics)
        work += _passes(config, shape, recipe, 1 if propagation(config) is Propagation.dense else 2)
    if (refit := reconstruction(config)) is not None:
        work += _passes(config, shape, recipe, REFIT_PASSES * (1 + refit.epochs))
    if isinstance(config.sparsity, UnstructuredConfig) and config.sparsity.allocation is Allocation.owl:
        work += _passes(config, shape, recipe, 1) + Work(weights=shape.num_blocks * shape.block_weights)
    return work


def _passes(config: Config, shape: ModelShape, recipe: Recipe, times: int) -> Work:
    num_tokens, seq_len = recipe.calib.num_samples * recipe.calib.seq_len, recipe.calib.seq_len
    more = ATTENTION_TIMES if needs_attention(config.weight) else 1
    return forward(shape, times * num_tokens, more * seq_len)
