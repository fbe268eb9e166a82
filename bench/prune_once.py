"""One measurement of bench/prune.py, in a process of its own, so that its peak memory is its own.

    python -m bench.prune_once SPECIFICATION.json

Prints one line of JSON. `side` says what is done: forward (two dense forwards over all blocks, the unit), ours, plain,
stages (where ours spends its time in one block), solver (every linear of the model, both solvers fed the same statistics in
turn), or curve (several ratios by one pass over the dense model, as cells with method.propagation=dense do it).

Shapes: O out, I in.
"""

import json
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from bench import plain
from bench.flops import measure_flops
from bench.timing import METHODS, timed
from prune.calib.calibration_set import CalibrationSet
from prune.models.blocks import find_blocks, find_linears, named_linears, read_weight, write_weight
from prune.models.host_memory import keep_freed_memory
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.method import Pruned
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.propagation import DenseInputs, Inputs, KeptInputs, collect_all, kind_of
from prune.pruning.solver.hessian import Hessian
from prune.pruning.sparsity import Unstructured

PAIRS = ("ours, plain", "ours, plain in float64", "plain, plain in float64")
"""Masks that are compared."""
CURVE = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Ratios of a sparsity curve."""


def main() -> None:
    """Measure, print."""
    asked: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    keep_freed_memory()
    torch.set_num_threads(asked["threads"])
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokens = load_file(asked["tokens"])
    model = transformers.AutoModelForCausalLM.from_pretrained(asked["model"], dtype=getattr(torch, asked["dtype"])).eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    forward(model, tokens["calibration"][:1], 1)
    loaded_mb = peak_mb()
    report = SIDES[asked["side"]](model, tokens["calibration"][: asked["samples"]], asked)
    report |= {"loaded_mb": loaded_mb, "peak_mb": peak_mb()}
    if asked["side"] in ("ours", "plain"):
        report["loss"] = loss(model, tokens["held_out"])
    print(json.dumps(report))


def peak_mb() -> float:
    """The largest resident size of this process so far; on a GPU the largest allocation there."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@torch.no_grad()
def forward(model: Any, tokens_NL: Tensor, batch_size: int) -> None:
    """All blocks over all tokens, without the head."""
    for tokens_BL in tokens_NL.split(batch_size):
        model.base_model(input_ids=tokens_BL.to(model.device), use_cache=False)


def two_forwards(model: Any, tokens_NL: Tensor, asked: dict[str, Any]) -> dict[str, Any]:
    """The unit."""
    return {"seconds": sum(timed(lambda: forward(model, tokens_NL, asked["batch_size"])) for _ in range(2))}


def ours(model: Any, tokens_NL: Tensor, asked: dict[str, Any]) -> dict[str, Any]:
    """The walk as a cell runs it."""
    method, pattern = METHODS[asked["method"]], Unstructured(asked["ratio"])
    calibration = CalibrationSet.of_tokens(tokens_NL)
    reports = []
    seconds = timed(
        lambda: reports.extend(prune_model(model, calibration, method, pattern, batch_size=asked["batch_size"], seed=0))
    )
    check_reached(pattern, method, reports)
    return {"seconds": seconds, "choosing_seconds": sum(report.seconds for report in reports)}


def stages(model: Any, tokens_NL: Tensor, asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each stage of both methods in one block, and the least that the products of its Hessians can take."""
    from bench.stages import measure_stages

    patterns = {"unstructured": Unstructured(asked["ratio"])}
    seconds = measure_stages(model, tokens_NL, patterns, asked["batch_size"], num_blocks=2)
    flops = measure_flops(model.dtype, model.device)
    return {
        "one_block_s": seconds,
        "gflops": flops / 1e9,
        "hessians_floor_s": _count_hessian_flops(model, tokens_NL) / flops / len(find_blocks(model)),
    }


def iterative(model: Any, tokens_NL: Tensor, asked: dict[str, Any]) -> dict[str, Any]:
    """Processor seconds of ALPS and ADMM beside SparseGPT's solver and their own floors, in some blocks."""
    from bench.iterative import measure_iterative

    return measure_iterative(model, tokens_NL, asked["ratio"], asked["batch_size"], num_blocks=3)


def _count_hessian_flops(model: Any, tokens_NL: Tensor) -> float:
    """Operations of the upper triangles of X^T X of all blocks, once for each input that linears share."""
    walk = Walk(model, CalibrationSet.of_tokens(tokens_NL[:1]), batch_size=1)
    widths = [
        read_weight(linears[first]).shape[1]
        for linears, groups in zip(map(find_linears, find_blocks(model)), walk.groups, strict=True)
        for first in groups
    ]
    return float(sum(width * (width + 1) * tokens_NL.numel() for width in widths))


def published(model: Any, tokens_NL: Tensor, asked: dict[str, Any]) -> dict[str, Any]:
    """The flow of bench/plain.py."""
    return {"seconds": timed(lambda: plain.prune_plainly(model, tokens_NL, asked["method"], asked["ratio"]))}


@dataclass
class Comparison:
    """What both solvers made of the linears so far."""

    ratio: float
    with_float64: bool
    seconds: dict[str, float] = field(default_factory=lambda: {"ours": 0.0, "plain": 0.0})
    agreements: dict[str, list[float]] = field(default_factory=lambda: {pair: [] for pair in PAIRS})
    """For each linear the share of equal entries of two masks."""
    largest_error_difference: float = 0.0

    def solve(self, weights: list[Tensor], statistic: Hessian, ours_first: bool) -> list[Tensor]:
        """New weights of linears with one statistic, by our solver."""
        hessian_II = statistic.hessian()
        ours: list[Pruned] = []
        published: list[tuple[Tensor, Tensor]] = []

        def solve_ours() -> None:
            named = {str(index): weight_OI for index, weight_OI in enumerate(weights)}
            ours.extend(SparseGPT().prune_group(named, statistic, [Unstructured(self.ratio)] * len(weights)))

        def solve_plainly() -> None:
            for weight_OI in weights:
                published.append(plain.solve(weight_OI, hessian_II.clone(), self.ratio, None, exact_count=True))

        for side in ("ours", "plain") if ours_first else ("plain", "ours"):
            self.seconds[side] += timed(solve_ours if side == "ours" else solve_plainly)
        for weight_OI, pruned, (plain_OI, mask_OI) in zip(weights, ours, published, strict=True):
            masks = [pruned.mask_OI, mask_OI]
            if self.with_float64:
                masks.append(plain.solve(weight_OI.double(), hessian_II.double(), self.ratio, None, exact_count=True)[1])
            for pair, (one, other) in zip(PAIRS, combinations(masks, 2), strict=False):
                self.agreements[pair].append(float((one == other).double().mean()))
            errors = statistic.squared_outputs([solved_OI - weight_OI for solved_OI in (pruned.weight_OI, plain_OI)])
            self.largest_error_difference = max(self.largest_error_difference, abs(errors[0] / errors[1] - 1))
        return [pruned.weight_OI for pruned in ours]


@torch.no_grad()
def solvers(model: Any, tokens_NL: Tensor, asked: dict[str, Any]) -> dict[str, Any]:
    """Both solvers of SparseGPT on the same statistics of every linear, and how alike their masks are.

    The plain solver in float64 shows how much of a difference is rounding on either side.
    """
    walk = Walk(model, CalibrationSet.of_tokens(tokens_NL), batch_size=asked["batch_size"])
    comparison = Comparison(asked["ratio"], asked["with_float64"])
    for index, block in enumerate(find_blocks(model)):
        linears = find_linears(block)
        collected = walk.collect(index, SparseGPT())
        for names in walk.groups[index].values():
            statistic = collected[names[0]]
            assert isinstance(statistic, Hessian)
            solved = comparison.solve([read_weight(linears[name]) for name in names], statistic, ours_first=index % 2 == 0)
            for name, weight_OI in zip(names, solved, strict=True):
                write_weight(linears[name], weight_OI)
        walk.advance(index)
    return {
        "seconds": comparison.seconds,
        "masks_equal": {
            pair: {
                "mean": sum(shares) / len(shares),
                "lowest": min(shares),
                "below_0.9999": sum(share < 0.9999 for share in shares),
            }
            for pair, shares in comparison.agreements.items()
            if shares
        },
        "largest_error_difference": comparison.largest_error_difference,
    }


def curve(model: Any, tokens_NL: Tensor, asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds of one cell alone and of the cells of a curve, each from the dense weights."""
    method, batch_size = METHODS[asked["method"]], asked["batch_size"]
    dense = {name: read_weight(linear).clone() for name, linear in named_linears(model).items()}
    kept: dict[str, Inputs] = {}

    def walk() -> Walk:
        with torch.no_grad():
            return Walk(model, CalibrationSet.of_tokens(tokens_NL), batch_size=batch_size)

    def keep() -> None:
        kept["inputs"] = KeptInputs(model, collect_all(walk(), [method])[kind_of(method)])

    def prune(ratio: float, inputs: Inputs) -> None:
        for name, linear in named_linears(model).items():
            write_weight(linear, dense[name])
        reports = prune_model(model, inputs, method, Unstructured(ratio), batch_size=batch_size, seed=0)
        check_reached(Unstructured(ratio), method, reports)

    one = timed(lambda: prune(asked["ratio"], DenseInputs(walk(), method)))
    passed = timed(keep)
    each = [timed(lambda ratio=ratio: prune(ratio, kept["inputs"])) for ratio in CURVE]
    seconds = passed + sum(each)
    return {"one": one, "seconds": seconds, "quotient": seconds / one, "pass": passed, "each": each}


@torch.no_grad()
def loss(model: Any, tokens_NL: Tensor) -> float:
    """The mean cross-entropy on held-out text."""
    losses = [
        float(model(input_ids=row[None].to(model.device), labels=row[None].to(model.device)).loss) for row in tokens_NL
    ]
    return sum(losses) / len(losses)


SIDES: dict[str, Callable[[Any, Tensor, dict[str, Any]], dict[str, Any]]] = {
    "forward": two_forwards,
    "ours": ours,
    "plain": published,
    "stages": stages,
    "solver": solvers,
    "iterative": iterative,
    "curve": curve,
}

if __name__ == "__main__":
    main()
