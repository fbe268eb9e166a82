"""One measurement of bench/prune.py, in a process of its own, so that its peak memory is its own.

    python -m bench.prune_once SPECIFICATION.json

Prints one line of JSON. `side` says what is done: forward (two dense forwards over all blocks, the unit), ours, plain, or
solver (every linear of the model, both solvers fed the same statistics in turn).

Shapes: O out, I in.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from bench import plain
from prune.allocator import keep_freed_memory
from prune.layerwise import check_reached, prune_model
from prune.methods import Method, Pruned
from prune.methods.hessian import Hessian
from prune.methods.sparsegpt import SparseGPT
from prune.methods.wanda import Wanda
from prune.models import find_blocks, find_linears, read_weight, write_weight
from prune.sparsity import Unstructured
from prune.walk import Walk

METHODS: dict[str, Method] = {"wanda": Wanda(), "sparsegpt": SparseGPT()}


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


def timed(work: Callable[[], Any]) -> float:
    """Seconds of some work, to its end on the device."""
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


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
    method, pattern, mask_NL = METHODS[asked["method"]], Unstructured(asked["ratio"]), torch.ones_like(tokens_NL).bool()
    reports = []
    seconds = timed(
        lambda: reports.extend(
            prune_model(model, tokens_NL, mask_NL, method, pattern, batch_size=asked["batch_size"], seed=0)
        )
    )
    check_reached(pattern, method, reports)
    return {"seconds": seconds, "choosing_seconds": sum(report.seconds for report in reports)}


def published(model: Any, tokens_NL: Tensor, asked: dict[str, Any]) -> dict[str, Any]:
    """The flow of bench/plain.py."""
    return {"seconds": timed(lambda: plain.prune_plainly(model, tokens_NL, asked["method"], asked["ratio"]))}


@dataclass
class Comparison:
    """What both solvers made of the linears so far."""

    ratio: float
    seconds: dict[str, float] = field(default_factory=lambda: {"ours": 0.0, "plain": 0.0})
    num_same: int = 0
    num_weights: int = 0
    largest_error_difference: float = 0.0

    def solve(self, weights: list[Tensor], statistic: Hessian, ours_first: bool) -> list[Tensor]:
        """New weights of linears with one statistic, by our solver."""
        hessian_II = statistic.hessian()
        ours: list[Pruned] = []
        published: list[tuple[Tensor, Tensor]] = []

        def solve_ours() -> None:
            ours.extend(SparseGPT().prune_together(weights, statistic, [Unstructured(self.ratio)] * len(weights)))

        def solve_plainly() -> None:
            for weight_OI in weights:
                published.append(plain.solve(weight_OI, hessian_II.clone(), self.ratio, None, exact_count=True))

        for side in ("ours", "plain") if ours_first else ("plain", "ours"):
            self.seconds[side] += timed(solve_ours if side == "ours" else solve_plainly)
        for weight_OI, pruned, (plain_OI, mask_OI) in zip(weights, ours, published, strict=True):
            self.num_same += int((pruned.mask_OI == mask_OI).sum())
            self.num_weights += mask_OI.numel()
            errors = [statistic.squared_output(solved_OI - weight_OI) for solved_OI in (pruned.weight_OI, plain_OI)]
            self.largest_error_difference = max(self.largest_error_difference, abs(errors[0] / errors[1] - 1))
        return [pruned.weight_OI for pruned in ours]


@torch.no_grad()
def solvers(model: Any, tokens_NL: Tensor, asked: dict[str, Any]) -> dict[str, Any]:
    """Both solvers of SparseGPT on the same statistics of every linear, and how alike their results are."""
    walk = Walk(model, tokens_NL, torch.ones_like(tokens_NL).bool(), batch_size=asked["batch_size"])
    comparison = Comparison(asked["ratio"])
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
        "masks_equal": comparison.num_same / comparison.num_weights,
        "largest_error_difference": comparison.largest_error_difference,
    }


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
    "solver": solvers,
}

if __name__ == "__main__":
    main()
