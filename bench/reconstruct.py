"""What the refit of kept weights (reconstruct=block) gains on held-out tokens, and what it costs, in the first blocks.

    python -m bench.reconstruct --model FOLDER --data ROOT [--blocks 3] [--samples 32] [--length 256] [--methods wanda] \
        [--ratio 0.5] [--rates 1e-5,1e-4,1e-3] [--epochs 1] [--granularities block,submodules] [--out FILE]

Windows of C4's training split, of which the last are held out. A block's error is the squared difference of its outputs to
the dense block's, relative to these, both fed what the dense blocks before it give. CPU seconds are this process's, on one
thread, of pruning and refitting these blocks, beside pruning alone. Results are added to bench/results/reconstruct.json.
"""

import argparse
import copy
import json
import platform
import time
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.timing import METHODS
from bench.weights import read_windows
from prune.calib.calibration_set import CalibrationSet
from prune.config.reconstruct import BlockReconstructConfig, Granularity
from prune.files import write_json
from prune.models.blocks import find_blocks, named_linears
from prune.pruning.layerwise import prune_model
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.reconstruct import Reconstruction
from prune.pruning.sparsity import Unstructured
from prune.pruning.targets import block_of

ROOT = Path(__file__).resolve().parents[1]
NAMED = {"magnitude": Magnitude(), **METHODS}

Inputs = list[tuple[tuple[Any, ...], dict[str, Any]]]


def main() -> None:
    """Measure, print a line a run, and keep the numbers."""
    asked = parse()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    dense = transformers.AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.float32).eval()
    num_train, asked.samples = asked.samples, asked.samples + max(2, asked.samples // 8)
    tokens_NL = read_windows(asked).tokens_NL
    calibration = CalibrationSet.of_tokens(tokens_NL[:num_train])
    inputs = block_inputs(dense, asked.blocks, tokens_NL[num_train:])
    runs = []
    for method in asked.methods.split(","):
        runs.append(run(dense, calibration, inputs, method, asked, None))
        for granularity in asked.granularities.split(","):
            for rate in map(float, asked.rates.split(",")):
                knobs = BlockReconstructConfig(granularity=Granularity[granularity], rate=rate, epochs=asked.epochs)
                runs.append(run(dense, calibration, inputs, method, asked, knobs))
    about = {
        "model": Path(asked.model).name,
        "samples": num_train,
        "length": asked.length,
        "held_out": len(tokens_NL) - num_train,
    }
    about |= {"blocks": asked.blocks, "ratio": asked.ratio, "epochs": asked.epochs, "measured": date.today().isoformat()}
    about |= {"machine": platform.processor() or platform.machine(), "torch": torch.__version__}
    former = json.loads(asked.out.read_text()) if asked.out.exists() else []
    write_json(asked.out, [*former, about | {"runs": runs}])


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--methods", default="wanda")
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--rates", default="1e-5,1e-4,1e-3")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--granularities", default="block,submodules")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/reconstruct.json")
    return parser.parse_args()


def block_inputs(model: Any, num_blocks: int, tokens_NL: torch.Tensor) -> list[Inputs]:
    """For each of the first blocks the arguments that the dense model calls it with, a sequence at a time."""
    seen: list[Inputs] = [[] for _ in range(num_blocks)]

    def keep(index: int) -> Any:
        return lambda module, args, kwargs: seen[index].append((args, kwargs))

    hooks = [
        block.register_forward_pre_hook(keep(index), with_kwargs=True)
        for index, block in enumerate(find_blocks(model)[:num_blocks])
    ]
    with torch.no_grad():
        for tokens_L in tokens_NL:
            model.base_model(tokens_L[None], use_cache=False)
    for hook in hooks:
        hook.remove()
    return seen


def run(
    dense: Any,
    calibration: CalibrationSet,
    inputs: list[Inputs],
    method: str,
    asked: argparse.Namespace,
    knobs: BlockReconstructConfig | None,
) -> dict[str, Any]:
    """Prune the first blocks of a copy, refit them where there are knobs, and compare their outputs on held-out tokens."""
    model = copy.deepcopy(dense)
    patterns = {name: Unstructured(asked.ratio) for name in named_linears(model) if block_of(name) < asked.blocks}

    def make(pruned: Iterable[str]) -> Reconstruction:
        assert knobs is not None
        return Reconstruction(model, calibration, knobs, pruned)

    began = time.process_time()
    prune_model(model, calibration, NAMED[method], patterns, batch_size=2, reconstruction=make if knobs else None)
    seconds = time.process_time() - began
    errors = [error(*pair) for pair in zip(find_blocks(model), find_blocks(dense), inputs)]  # noqa: B905 - the first blocks
    how = {"granularity": knobs.granularity.value, "rate": knobs.rate} if knobs else {}
    found = {
        "method": method,
        **how,
        "cpu_seconds": round(seconds, 1),
        "held_out_errors": [float(f"{e:.4g}") for e in errors],
    }
    print(found, flush=True)
    return found


def error(block: Any, dense: Any, inputs: Inputs) -> float:
    """Squared difference of the outputs to the dense block's, relative to these."""
    difference = total = 0.0
    with torch.no_grad():
        for args, kwargs in inputs:
            made, target = (
                each if isinstance(each, torch.Tensor) else each[0] for each in (b(*args, **kwargs) for b in (block, dense))
            )
            difference += float((made - target).double().square().sum())
            total += float(target.double().square().sum())
    return difference / total


if __name__ == "__main__":
    main()
