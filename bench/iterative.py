"""What ALPS and ADMM cost beside SparseGPT's solver and their own floors: the part `iterative` of bench/prune.py.

Seconds are processor time, so that a busy machine changes them little. A floor is what the products of the iterations, of
the refit and of the inverses take at the rate of a large product here (an inverse counts as a product I x I x I), and the
measured decomposition.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from prune.calib.calibration_set import CalibrationSet
from prune.models.blocks import find_blocks, find_linears, read_weight
from prune.pruning.hidden_states import Walk
from prune.pruning.method import Pruned
from prune.pruning.methods.admm import ADMM
from prune.pruning.methods.alps import ALPS, Problem, refit
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.solver.hessian import Hessian
from prune.pruning.solver.scaled import Solve, prune_scaled
from prune.pruning.sparsity import Pattern, Unstructured


@dataclass
class Cost:
    """Of a method over the linears so far."""

    seconds: float = 0.0
    floor_s: float = 0.0
    iterations: list[int] = field(default_factory=list)


@torch.no_grad()
def measure_iterative(model: Any, tokens_NL: Tensor, ratio: float, batch_size: int, num_blocks: int) -> dict[str, Any]:
    """Seconds of each solver over the linears of the first dense blocks, its floor, and times SparseGPT's."""
    walk = Walk(model, CalibrationSet.of_tokens(tokens_NL), batch_size=batch_size)
    rate = processor_flops()
    costs = {name: Cost() for name in ("sparsegpt", "admm", "alps")}
    for index, block in enumerate(find_blocks(model)[:num_blocks]):
        linears = find_linears(block)
        collected = walk.collect(index, SparseGPT(), advance=True)
        for names in walk.groups[index].values():
            weights = {name: read_weight(linears[name]) for name in names}
            _measure(weights, collected[names[0]], Unstructured(ratio), rate, costs)
    base = costs["sparsegpt"].seconds
    return {"gflops": rate / 1e9, "num_blocks": num_blocks} | {name: _describe(cost, base) for name, cost in costs.items()}


def _measure(weights: Mapping[str, Tensor], statistic: Any, pattern: Pattern, rate: float, costs: dict[str, Cost]) -> None:
    """Add what linears with the same inputs cost."""
    assert isinstance(statistic, Hessian)
    patterns = [pattern] * len(weights)
    solvers: dict[str, Callable[[], Any]] = {
        "sparsegpt": lambda: SparseGPT().prune_group(weights, statistic, patterns),
        "admm": lambda: ADMM().prune_group(weights, statistic, patterns),
        "alps": lambda: _counted_alps(weights, statistic, patterns, rate, costs["alps"]),
    }
    for name, solve in solvers.items():
        start = time.process_time()
        solve()
        costs[name].seconds += time.process_time() - start
    num_outputs, num_inputs = sum(map(len, weights.values())), next(iter(weights.values())).shape[1]
    costs["admm"].floor_s += 2 * num_inputs**2 * ((ADMM().iterations + 1) * num_outputs + num_inputs) / rate


def _counted_alps(
    weights: Mapping[str, Tensor], statistic: Hessian, patterns: list[Pattern], rate: float, cost: Cost
) -> list[Pruned]:
    """As ALPS.prune_group, counting its products."""
    knobs = ALPS()

    def prepare(hessian_II: Tensor) -> Solve:
        start = time.process_time()
        problem = Problem(knobs, hessian_II)
        cost.floor_s += time.process_time() - start
        return lambda dense_OI, pattern, zero_OI: solve(problem, dense_OI, pattern, zero_OI)

    def solve(problem: Problem, dense_OI: Tensor, pattern: Pattern, zero_OI: Tensor | None) -> tuple[Tensor, Tensor]:
        solved = problem.search(dense_OI, pattern, zero_OI)
        num_outputs, num_inputs = dense_OI.shape
        num_products = solved.num_iterations + knobs.cg_steps + 2
        cost.iterations.append(solved.num_iterations)
        cost.floor_s += 2 * num_inputs**2 * (num_products * num_outputs + solved.num_inverses * num_inputs) / rate
        return refit(solved.weight_OI, solved.mask_OI, dense_OI, problem.hessian_II, knobs.cg_steps), solved.mask_OI

    return prune_scaled(list(weights.values()), statistic, patterns, knobs.damping, prepare)


def processor_flops() -> float:
    """Operations in a second of processor time of this process, in a large product; the best of some."""
    left, right = (torch.randn(1536, 1536) for _ in range(2))
    seconds = []
    for _ in range(6):
        start = time.process_time()
        float((left @ right)[0, 0])
        seconds.append(time.process_time() - start)
    return 2 * 1536**3 / min(seconds)


def _describe(cost: Cost, base: float) -> dict[str, Any]:
    numbers: dict[str, Any] = {"seconds": round(cost.seconds, 2), "times_sparsegpt": round(cost.seconds / base, 2)}
    if cost.floor_s:
        numbers |= {"floor_s": round(cost.floor_s, 2), "times_floor": round(cost.seconds / cost.floor_s, 2)}
    if cost.iterations:
        numbers["mean_iterations"] = round(sum(cost.iterations) / len(cost.iterations), 1)
    return numbers
