"""Every method under every pattern in one run: the error of each linear on the same inputs, and the solver's time.

    python -m bench.methods --model FOLDER --data ROOT [--samples 8] [--held-out 8] [--length 512] [--patterns 0.5,0.7,2:4] \
        [--blocks 3,15] [--max-sweeps 25] [--out FILE]

Inputs and errors are those of bench.solvers: the dense model's, on C4's training split and on held-out tokens of its
validation split; tr(D H D^T) / tr(W H W^T). Seconds are of the processor, from a statistic that is gathered to weights that
are pruned, factorisations included. The file is written after every block. `python -m dev.agreement` makes
docs/agreement.md of it.
"""

import argparse
import copy
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from bench.solvers import describe, grouped, load, parser_of, pattern_of, solve, write
from prune.calib.calibration_set import CalibrationSet
from prune.models.blocks import find_blocks, find_linears, read_weight
from prune.pruning.hidden_states import Walk
from prune.pruning.method import Method, Statistic
from prune.pruning.methods.admm import ADMM
from prune.pruning.methods.alps import ALPS
from prune.pruning.methods.dsnot import DSnoT, MomentsAndHessian
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.nowag import NoWag
from prune.pruning.methods.random import Random
from prune.pruning.methods.ria import RIA, Permutation
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.start import Start
from prune.pruning.methods.swaps import Swaps
from prune.pruning.methods.wanda import Wanda
from prune.pruning.sparsity import NM

BASE = "sparsegpt"
"""Whose time is 1."""
ON_HESSIAN = frozenset({"sparsegpt", "admm", "alps", "swaps"})
PERMUTED = frozenset({"ria permutation=heuristic", "ria permutation=lsa"})
"""For N:M alone."""


def methods(max_sweeps: int) -> dict[str, Method]:
    """The methods that are measured, as on a line."""
    return {
        "random": Random(),
        "magnitude": Magnitude(),
        "wanda": Wanda(),
        "nowag": NoWag(),
        "ria": RIA(),
        "ria permutation=heuristic": RIA(permutation=Permutation.heuristic),
        "ria permutation=lsa": RIA(permutation=Permutation.lsa),
        "dsnot start=wanda": DSnoT(),
        "swaps start=wanda": Swaps(max_sweeps=max_sweeps),
        "sparsegpt": SparseGPT(),
        "admm": ADMM(),
        "alps": ALPS(),
    }


def main() -> None:
    """Measure, print, and keep the numbers."""
    asked = parse()
    model, tokens = load(asked)
    about = describe(asked, model) | {"max_sweeps": asked.max_sweeps}
    for blocks, lines in measure(model, tokens, asked):
        write(about | {"blocks": blocks, "summary": summary(lines), "linears": lines}, asked.out)
        print(blocks, flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__, samples=8, held_out=8, blocks="3,15", threads=1, out="methods.json")
    parser.add_argument("--max-sweeps", type=int, default=25, help="of swaps")
    return parser.parse_args()


@torch.no_grad()
def measure(
    model: Any, tokens: Mapping[str, Tensor], asked: argparse.Namespace
) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
    """(the blocks so far, a line for each of their linears, pattern and method), after every block."""
    gather = DSnoT(start=Start.sparsegpt)
    walks = {
        split: Walk(model, CalibrationSet.of_tokens(tokens_NL), batch_size=asked.batch_size)
        for split, tokens_NL in tokens.items()
    }
    blocks, lines = [int(index) for index in asked.blocks.split(",")], list[dict[str, Any]]()
    for index in range(max(blocks) + 1):
        if index not in blocks:
            for walk in walks.values():
                walk.advance(index)
            continue
        linears = find_linears(find_blocks(model)[index])
        found = {split: walk.collect(index, gather, list(linears), advance=True) for split, walk in walks.items()}
        for group in grouped(found["train"]):
            weights = {name: read_weight(linears[name]) for name in group}
            statistics = [found[split][group[0]] for split in ("train", "eval")]
            lines += [{"block": index, **line} for line in measured(weights, statistics, asked)]
        yield [block for block in blocks if block <= index], lines


def measured(weights: Mapping[str, Tensor], statistics: list[Any], asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A line for each linear of a group, pattern and method: errors on both sets of tokens, seconds; `statistics` are of
    the calibration set and of the held-out tokens."""
    hessians = [statistic.hessian for statistic in statistics]
    for text in asked.patterns.split(","):
        pattern = pattern_of(text)
        for key, method in methods(asked.max_sweeps).items():
            if key in PERMUTED and not isinstance(pattern, NM):
                continue
            own = statistic_for(key, statistics[0])
            start = time.process_time()
            pruned = solve(method, weights, own, pattern)
            seconds = (time.process_time() - start) / len(weights)
            for (name, weight_OI), one in zip(weights.items(), pruned, strict=True):
                errors = [float(f"{each.output_error(weight_OI, one.weight_OI):.6g}") for each in hessians]
                yield {"name": name, "pattern": text, "method": key, "errors": errors, "seconds": round(seconds, 6)}


def statistic_for(key: str, statistic: MomentsAndHessian) -> Statistic:
    """What a method looks at; a Hessian comes without the factor that another call has made."""
    return copy.copy(statistic.hessian) if key.partition(" ")[0] in ON_HESSIAN else statistic.moments


def summary(lines: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Pattern -> method -> mean errors of the linears, seconds of all of them, and times those of SparseGPT."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for line in lines:
        numbers = found.setdefault(line["pattern"], {}).setdefault(
            line["method"], {"num_linears": 0, "mean_error_calibration": 0.0, "mean_error_held_out": 0.0, "seconds": 0.0}
        )
        numbers["num_linears"] += 1
        numbers["mean_error_calibration"] += line["errors"][0]
        numbers["mean_error_held_out"] += line["errors"][1]
        numbers["seconds"] += line["seconds"]
    for of_pattern in found.values():
        for numbers in of_pattern.values():
            for tokens in ("calibration", "held_out"):
                numbers[f"mean_error_{tokens}"] /= numbers["num_linears"]
            numbers["times_sparsegpt"] = numbers["seconds"] / of_pattern[BASE]["seconds"]
    return found


if __name__ == "__main__":
    main()
