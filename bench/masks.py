"""What improving a mask does to the squared output error of each linear, and what it takes.

    python -m bench.masks --model FOLDER --data ROOT [--samples 32] [--length 512] [--every 1] [--swaps 0,15] [--out FILE]

Every block sees the dense model's inputs (method.propagation=dense) on the first samples of C4 under ROOT. In every so many
blocks each linear is pruned by DSnoT from Wanda's mask, in those of --swaps by swaps from Wanda's, too; its error is
tr(R H R^T) / tr(W H W^T), R what is removed. Seconds are of the processor, one thread. Lines are kept as they come.
"""

import argparse
import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from prune.calib.calibration_set import CalibrationSet
from prune.files import write_json
from prune.models.blocks import find_blocks, find_linears, read_weight
from prune.pruning.hidden_states import Walk
from prune.pruning.methods.dsnot import DSnoT, MomentsAndHessian
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.start import Start, scored_mask
from prune.pruning.methods.wanda import Wanda
from prune.pruning.solver.swap_search import swap
from prune.pruning.sparsity import NM, Pattern, Unstructured

PATTERNS: tuple[Pattern, ...] = (Unstructured(0.5), Unstructured(0.7), NM(2, 4))


def main() -> None:
    """Walk through the dense model, measure, keep."""
    asked = parse()
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked.model)
    walk = Walk(model, CalibrationSet.of_tokens(tokens_of(asked, tokenizer)), batch_size=4)
    swapped, lines = [int(index) for index in asked.swaps.split(",")], list[dict[str, Any]]()
    about = {
        **{"model": Path(asked.model).name, "samples": asked.samples, "length": asked.length, "device": "cpu, 1 thread"},
        **{"every": asked.every, "swaps": asked.swaps, "max_sweeps": asked.max_sweeps, "date": time.strftime("%Y-%m-%d")},
    }
    with torch.no_grad():
        for index, block in enumerate(find_blocks(model)):
            if index % asked.every and index not in swapped:
                walk.advance(index)
                continue
            statistics = walk.collect(index, DSnoT(start=Start.sparsegpt), advance=index + 1 < len(walk.groups))
            for name, linear in find_linears(block).items():
                weight_OI, statistic = read_weight(linear), statistics[name]
                assert isinstance(statistic, MomentsAndHessian)
                for line in measured(weight_OI, statistic, index in swapped, asked.max_sweeps):
                    lines.append({"block": index, "linear": name, **line})
                    print(json.dumps(lines[-1]), flush=True)
                write_json(asked.out, {"about": about, "summary": summary(lines), "measured": lines})


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--every", type=int, default=1, help="measure each so-many-th block")
    parser.add_argument("--swaps", default="0", help="numbers of the blocks in which swaps are measured")
    parser.add_argument("--max-sweeps", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "masks.json")
    return parser.parse_args()


def tokens_of(asked: argparse.Namespace, tokenizer: Any) -> Tensor:
    """The first tokens of the first texts that are long enough, N x L."""
    rows: list[list[int]] = []
    with gzip.open(asked.data / "c4/train.jsonl.gz", "rt") as file:
        for line in file:
            tokens = tokenizer(json.loads(line)["text"])["input_ids"]
            if len(tokens) >= asked.length:
                rows.append(tokens[: asked.length])
            if len(rows) == asked.samples:
                return torch.tensor(rows)
    raise SystemExit(f"{asked.data} has {len(rows)} texts of {asked.length} tokens")


def measured(weight_OI: Tensor, statistic: MomentsAndHessian, swaps: bool, max_sweeps: int) -> Iterator[dict[str, Any]]:
    """A line for each pattern and method: errors before and after, seconds."""
    moments, hessian = statistic.moments, statistic.hessian
    (total,) = hessian.squared_outputs([weight_OI])
    generator = torch.Generator()

    def error(mask_OI: Tensor) -> float:
        return hessian.squared_outputs([weight_OI * mask_OI])[0] / total

    for pattern in PATTERNS:
        wanda_OI, wanda_s = clocked(lambda: Wanda().prune(weight_OI, moments, pattern, generator).mask_OI)  # noqa: B023
        dsnot_OI, dsnot_s = clocked(lambda: DSnoT().prune(weight_OI, moments, pattern, generator).mask_OI)  # noqa: B023
        same = {"sparsity": str(pattern), "start": error(wanda_OI), "start_s": wanda_s}
        yield {"method": "dsnot", **same, "error": error(dsnot_OI), "seconds": dsnot_s}
        if swaps:
            yield {"method": "swaps", **same, **measured_swaps(weight_OI, statistic, pattern, max_sweeps, error)}


def measured_swaps(
    weight_OI: Tensor, statistic: MomentsAndHessian, pattern: Pattern, max_sweeps: int, error: Callable[[Tensor], float]
) -> dict[str, Any]:
    """Errors and seconds of swaps, what its products take at the measured rate, and SparseGPT's solver beside it."""
    gram_II = statistic.hessian.hessian()
    start_OI = scored_mask(Start.wanda, weight_OI, gram_II.diagonal().sqrt(), pattern)
    (mask_OI, num_swaps_O), seconds = clocked(lambda: swap(weight_OI, start_OI, gram_II, pattern, max_sweeps))
    solved, solver_s = clocked(lambda: SparseGPT().prune(weight_OI, statistic.hessian, pattern, torch.Generator()))
    num_rows = int((num_swaps_O + 1).clamp(max=max_sweeps).sum())
    pairs = pattern.m * gram_II.shape[0] if isinstance(pattern, NM) else int(start_OI[0].sum()) * int((~start_OI[0]).sum())
    return {
        "error": error(mask_OI),
        "seconds": seconds,
        "floor_s": num_rows * pairs * seconds_of_a_product(),
        "searches": num_rows,
        "sparsegpt_s": solver_s,
        "sparsegpt_error": solved.error,
    }


def seconds_of_a_product() -> float:
    """Of one multiply and add of three numbers that lie in the cache."""
    left, right = torch.randn(128, 256), torch.randn(128, 256)
    _, seconds = clocked(lambda: [torch.addcmul(left, left, right, out=right) for _ in range(200)])
    return seconds / (200 * left.numel())


def clocked(work: Callable[[], Any]) -> tuple[Any, float]:
    """(what it gives, seconds of the processor)."""
    begin = time.process_time()
    return work(), time.process_time() - begin


def summary(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each method and sparsity: how many linears got worse, and the mean of the error in parts of the start's."""
    found = []
    for method, sparsity in dict.fromkeys((line["method"], line["sparsity"]) for line in lines):
        of_it = [line for line in lines if (line["method"], line["sparsity"]) == (method, sparsity)]
        parts = sorted(line["error"] / line["start"] for line in of_it)
        found.append(
            {
                **{"method": method, "sparsity": sparsity, "linears": len(parts), "worse": sum(part > 1 for part in parts)},
                **{
                    "mean": sum(parts) / len(parts),
                    "median": parts[len(parts) // 2],
                    "lowest": parts[0],
                    "highest": parts[-1],
                },
                "seconds": sum(line["seconds"] for line in of_it),
                "floor_s": sum(line.get("floor_s", 0) for line in of_it),
                "sparsegpt_s": sum(line.get("sparsegpt_s", 0) for line in of_it),
            }
        )
    return found


if __name__ == "__main__":
    main()
