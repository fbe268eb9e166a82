"""The methods by one error, linear by linear: tr(D H D^T) / tr(W H W^T) on the same inputs.

    python -m bench.solvers --model FOLDER --data ROOT [--samples 32] [--length 512] [--patterns 0.5,0.7,2:4] \
        [--blocks all] [--perplexity] [--out FILE]

Every block of the dense model gets the inputs that the dense blocks before it give (method.propagation=dense), from C4's
training split; its linears are pruned by each method from the same Hessians. The error is measured on those tokens and on
held-out ones of C4's validation split. What each costs: bench.prune, part `iterative`. `--blocks 0,9,18` takes some blocks
only. The file is written after every block. `--perplexity` prunes by the published flow (propagation=pruned) instead, and
scores the held-out tokens. Results go to bench/results/solvers.json.
"""

import argparse
import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from bench.prune import windows
from bench.prune_once import loss
from prune.calib.calibration_set import CalibrationSet
from prune.config.data import DataConfig, DataSource
from prune.data.registry import find_dataset
from prune.data.sources.source import open_source, texts
from prune.models.blocks import find_blocks, find_linears, named_linears, read_weight, write_weight
from prune.models.host_memory import keep_freed_memory
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import prune_model
from prune.pruning.measured import Measured
from prune.pruning.method import Method, Pruned, PrunesGroups, Statistic
from prune.pruning.methods.admm import ADMM
from prune.pruning.methods.alps import ALPS
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda
from prune.pruning.sparsity import NM, Pattern, Unstructured

ROOT = Path(__file__).resolve().parents[1]
METHODS: dict[str, Method] = {
    "magnitude": Magnitude(),
    "wanda": Wanda(),
    "sparsegpt": SparseGPT(),
    "admm": ADMM(),
    "alps": ALPS(),
}
BASE = "sparsegpt"
"""What the others are compared with."""


def main() -> None:
    """Measure, print, and keep the numbers."""
    asked = parse()
    model, tokens = load(asked)
    report = describe(asked, model)
    if asked.out.exists():
        report = json.loads(asked.out.read_text()) | report
    measure = measure_perplexity if asked.perplexity else measure_errors
    for key, value in measure(asked, model, tokens):
        report[key] = value
        write(report, asked.out)
    print(json.dumps({key: value for key, value in report.items() if key != "linears"}, indent=1))


def write(report: dict[str, Any], path: Path) -> None:
    """JSON with a line for each linear."""
    rest = json.dumps({key: value for key, value in report.items() if key != "linears"}, indent=1)
    lines = ",\n".join(f"  {json.dumps(line)}" for line in report.get("linears", []))
    path.write_text(f'{rest.removesuffix("}").rstrip()},\n "linears": [\n{lines}\n ]\n}}\n')


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__, samples=32, held_out=16, blocks="all", threads=torch.get_num_threads(), out="solvers.json")
    parser.add_argument("--perplexity", action="store_true")
    return parser.parse_args()


def parser_of(
    doc: str | None, *, samples: int, held_out: int, blocks: str, threads: int, out: str
) -> argparse.ArgumentParser:
    """The options of a bench that compares methods on the linears of a real model, with these defaults."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--samples", type=int, default=samples)
    parser.add_argument("--held-out", type=int, default=held_out)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--patterns", default="0.5,0.7,2:4")
    parser.add_argument("--blocks", default=blocks)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results" / out)
    return parser


def load(asked: argparse.Namespace) -> tuple[Any, dict[str, Tensor]]:
    """The model in float32, and N x L tokens of each split."""
    torch.set_num_threads(asked.threads)
    keep_freed_memory()
    transformers.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.float32).eval()
    return model, {split: draw(asked, split) for split in ("train", "eval")}


def draw(asked: argparse.Namespace, split: str) -> Tensor:
    """The first windows of documents that are long enough, N x L."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked.model)
    dataset = find_dataset("c4")
    source = open_source(DataConfig(name=DataSource.local, root=asked.data))
    of_split, num = {"train": (dataset.train_split, asked.samples), "eval": (dataset.eval_split, asked.held_out)}[split]
    return windows(texts(source, dataset, of_split), tokenizer, num, asked.length)


def describe(asked: argparse.Namespace, model: Any) -> dict[str, Any]:
    """What is measured, on what."""
    names = ("samples", "held_out", "length", "patterns", "threads")
    return {name: getattr(asked, name) for name in names} | {
        "model": f"{model.config.model_type}, {len(find_blocks(model))} blocks of {model.config.hidden_size}",
        "device": f"{os.cpu_count()} cores, {platform.machine()}",
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


def pattern_of(text: str) -> Pattern:
    """`0.5` or `2:4`."""
    n, colon, m = text.partition(":")
    return NM(int(n), int(m)) if colon else Unstructured(float(text))


class Errors:
    """One walk over the dense model with both sets of tokens."""

    def __init__(self, asked: argparse.Namespace, model: Any, tokens: Mapping[str, Tensor]) -> None:
        self._model, self._patterns = model, asked.patterns.split(",")
        self._walks = {
            split: Walk(model, CalibrationSet.of_tokens(tokens_NL), batch_size=asked.batch_size)
            for split, tokens_NL in tokens.items()
        }
        num_blocks = len(find_blocks(model))
        self._blocks = range(num_blocks) if asked.blocks == "all" else [int(index) for index in asked.blocks.split(",")]
        self._lines: list[dict[str, Any]] = []

    def measure(self) -> Any:
        """(key, value) of the report, again after every block."""
        for index in range(max(self._blocks) + 1):
            linears = find_linears(find_blocks(self._model)[index])
            if index not in self._blocks:
                for walk in self._walks.values():
                    walk.advance(index)
                continue
            gather = Measured(Wanda())
            found = {split: walk.collect(index, gather, list(linears), advance=True) for split, walk in self._walks.items()}
            for group in grouped(found["train"]):
                self._prune(index, {name: read_weight(linears[name]) for name in group}, found)
            yield "blocks", [block for block in self._blocks if block <= index]
            yield "summary", self.summary()
            yield "linears", self._lines
            print(index, json.dumps(self._lines[-1]), flush=True)

    def _prune(self, index: int, weights: dict[str, Tensor], found: Mapping[str, Mapping[str, Any]]) -> None:
        first = next(iter(weights))
        train, held_out = (found[split][first] for split in ("train", "eval"))
        for pattern in self._patterns:
            errors: dict[str, dict[str, list[float]]] = {name: {} for name in weights}
            for key, method in METHODS.items():
                pruned = solve(method, weights, train.own if key == "wanda" else train.hessian, pattern_of(pattern))
                for (name, weight_OI), one in zip(weights.items(), pruned, strict=True):
                    hessians = (train.hessian, held_out.hessian)
                    errors[name][key] = [float(f"{each.output_error(weight_OI, one.weight_OI):.6g}") for each in hessians]
            self._lines += [
                {"block": index, "name": name, "pattern": pattern, "errors": of_methods}
                for name, of_methods in errors.items()
            ]

    def summary(self) -> dict[str, Any]:
        """For each pattern and method: mean errors, and the share of linears at or below SparseGPT's."""
        return {
            pattern: {name: self._summarise(pattern, name) for name in METHODS}
            for pattern in self._patterns
            if any(line["pattern"] == pattern for line in self._lines)
        }

    def _summarise(self, pattern: str, method: str) -> dict[str, Any]:
        lines = [line["errors"] for line in self._lines if line["pattern"] == pattern]
        numbers: dict[str, Any] = {"num_linears": len(lines)}
        for place, tokens in enumerate(("calibration", "held_out")):
            numbers[f"mean_error_{tokens}"] = sum(errors[method][place] for errors in lines) / len(lines)
            at_or_below = sum(errors[method][place] <= errors[BASE][place] for errors in lines)
            numbers[f"share_at_or_below_{BASE}_{tokens}"] = at_or_below / len(lines)
        return numbers


def solve(method: Method, weights: Mapping[str, Tensor], statistic: Statistic, pattern: Pattern) -> list[Pruned]:
    """Linears with the same inputs, pruned."""
    if isinstance(method, PrunesGroups):
        return method.prune_group(weights, statistic, [pattern] * len(weights))
    return [method.prune(weight_OI, statistic, pattern, torch.Generator()) for weight_OI in weights.values()]


def grouped(statistics: Mapping[str, Any]) -> list[list[str]]:
    """The names of the linears that share a statistic."""
    groups: dict[int, list[str]] = {}
    for name, statistic in statistics.items():
        groups.setdefault(id(statistic), []).append(name)
    return list(groups.values())


def measure_errors(asked: argparse.Namespace, model: Any, tokens: Mapping[str, Tensor]) -> Any:
    """The one error, block after block."""
    with torch.no_grad():
        yield from Errors(asked, model, tokens).measure()


def measure_perplexity(asked: argparse.Namespace, model: Any, tokens: Mapping[str, Tensor]) -> Any:
    """Loss per held-out token after pruning by the published flow."""
    dense = {name: read_weight(linear).clone() for name, linear in named_linears(model).items()}
    losses: dict[str, dict[str, float]] = {"dense": {"": loss(model, tokens["eval"])}}
    for text in asked.patterns.split(","):
        losses[text] = {}
        for name, method in METHODS.items():
            for key, linear in named_linears(model).items():
                write_weight(linear, dense[key])
            calibration = CalibrationSet.of_tokens(tokens["train"])
            prune_model(model, calibration, method, pattern_of(text), batch_size=asked.batch_size, seed=0)
            losses[text][name] = loss(model, tokens["eval"])
            print(text, name, losses[text][name], flush=True)
            yield "held_out_loss_propagation_pruned", losses


if __name__ == "__main__":
    main()
