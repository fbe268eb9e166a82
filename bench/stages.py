"""What the stages of pruning one block take, each alone; used by bench/gpu.py and bench/prune.py."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.timing import METHODS, timed
from prune.calib.calibration_set import CalibrationSet
from prune.models.blocks import find_blocks, find_linears, read_weight
from prune.pruning.grouped import GroupPruner
from prune.pruning.hidden_states import Walk
from prune.pruning.method import NoStatistic, Statistic
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.solver.hessian import Hessian
from prune.pruning.sparsity import Pattern


class Unfed:
    """Wants inputs and keeps nothing: what is left of collecting is the forward pass."""

    name, needs_inputs = "unfed", True

    def start_statistic(self, num_inputs: int, device: torch.device) -> Statistic:
        """Nothing is kept."""
        return NoStatistic()


@torch.no_grad()
def measure_stages(
    model: Any, tokens_NL: Tensor, patterns: Mapping[str, Pattern], batch_size: int, *, num_blocks: int | None = None
) -> dict[str, float]:
    """Stage -> seconds for the last of the first `num_blocks` of a model (None: all), after the others warmed everything up.

    Statistics are counted without the forward pass that feeds them, the sweep without the factorisation. Weights stay dense.
    """
    walk = Walk(model, CalibrationSet.of_tokens(tokens_NL), batch_size=batch_size)
    seconds: dict[str, float] = {}
    for index, block in list(enumerate(find_blocks(model)))[:num_blocks]:
        collected, seconds = _collect(walk, index)
        linears = find_linears(block)
        for first, names in walk.groups[index].items():
            weights = {name: read_weight(linears[name]) for name in names}
            _add(seconds, _choose(weights, collected["wanda"][first], collected["sparsegpt"][first], patterns))
        seconds["forward to the next block"] = timed(partial(walk.advance, index))
    return seconds


def _collect(walk: Walk, index: int) -> tuple[dict[str, dict[str, Statistic]], dict[str, float]]:
    """Method -> the statistics of a block's linears, and the seconds."""
    collected: dict[str, dict[str, Statistic]] = {}

    def collect(method: Any) -> None:
        collected[method.name] = walk.collect(index, method)

    feeding = timed(partial(collect, Unfed()))
    seconds = {"forward to the last linear": feeding}
    for name, method in METHODS.items():
        seconds[f"{name}: statistics"] = timed(partial(collect, method)) - feeding
    return collected, seconds


def _choose(
    weights: Mapping[str, Tensor], norms: Statistic, hessian: Statistic, patterns: Mapping[str, Pattern]
) -> dict[str, float]:
    """Seconds of what both methods do with linears that share an input."""
    assert isinstance(hessian, Hessian)
    seconds = {"sparsegpt: factorisation": timed(partial(hessian.factor, SparseGPT().damping, SparseGPT().block_size))}
    for pattern_name, pattern in patterns.items():
        named = {f"{name} {pattern_name}": weight_OI for name, weight_OI in weights.items()}  # nothing is kept by name
        asked = dict.fromkeys(named, pattern)
        sweep = GroupPruner(METHODS["sparsegpt"], named, dict.fromkeys(named, hessian), asked)
        masks = GroupPruner(METHODS["wanda"], named, dict.fromkeys(named, norms), asked)
        seconds[f"sparsegpt: sweep {pattern_name}"] = timed(partial(_prune_all, sweep, named))
        seconds[f"wanda: masks {pattern_name}"] = timed(partial(_prune_all, masks, named))
    return seconds


def _prune_all(together: GroupPruner, names: Iterable[str]) -> None:
    for name in names:
        together.prune(name, torch.Generator())


def _add(seconds: dict[str, float], more: Mapping[str, float]) -> None:
    for stage, value in more.items():
        seconds[stage] = seconds.get(stage, 0.0) + value
