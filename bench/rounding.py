"""What rounding alone does to a method: one calibration set, pruned with other batch sizes and in another order.

    python -m bench.rounding [--model FOLDER --data ROOT] [--samples 16] [--length 256] [--methods wanda,sparsegpt] \
        [--ratio 0.5] [--chunks 40] [--threads 2] [--out FILE]

Exact arithmetic would give one pruned model whatever the batch size and the order of the samples. What comes out instead is
compared with the first run: the share of all weights that is in one mask and not in the other, and the perplexity of
WikiText-2. Without --model it is the embedded one on the sample rows. A line of FILE that is about the same model, method
and sparsity is replaced. The default is bench/results/rounding.json; the report of a folder of results reads the file
rounding.json in it (prune/report/findings/rounding.py).
"""

import argparse
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import transformers
from torch import Tensor

from prune.calib.build import build
from prune.calib.calibration_set import CalibrationSet
from prune.calib.recipe import Recipe
from prune.cell.cell import describe_sparsity
from prune.cell.resources import Resources
from prune.config.calib import CalibConfig
from prune.config.data import DataConfig, DataSource
from prune.config.eval import EvalConfig
from prune.config.method import MethodConfig
from prune.config.model import DType, ModelConfig
from prune.config.sparsity import UnstructuredConfig
from prune.data.sources.source import open_source
from prune.errors import UserError
from prune.eval.measure import measure
from prune.eval.plan import plan_metrics
from prune.eval.subject import Subject
from prune.files import write_json
from prune.pruning.layerwise import prune_model
from prune.pruning.methods.ria import RIAConfig
from prune.pruning.methods.sparsegpt import SparseGPTConfig
from prune.pruning.methods.wanda import WandaConfig
from prune.pruning.registry import build_method
from prune.pruning.sparsity import build_pattern
from prune.report.findings.rounding import FILE, Rounding, Run, read_rounding

KNOBS: dict[str, MethodConfig] = {"wanda": WandaConfig(), "ria": RIAConfig(), "sparsegpt": SparseGPTConfig()}
RUNS = (("batch size 8", 8, False), ("batch size 4", 4, False), ("batch size 1", 1, False), ("samples reversed", 8, True))
"""Name, batch size, whether the samples come in reverse order; the first is what the others are compared with."""


def main() -> None:
    """Measure each method, print a line a run, keep the numbers."""
    asked = parse()
    torch.set_num_threads(asked.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    bench = Bench(asked)
    for name in asked.methods.split(","):
        measured = bench.measure_method(name)
        known = read_rounding(asked.out) if asked.out.exists() else []
        kept = [asdict(one) for one in known if one.place != measured.place]
        write_json(asked.out, {"measured": [*kept, asdict(measured)]})


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder; without it the embedded model")
    parser.add_argument("--data", help="a folder of rows, as data.root; without it the sample rows")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--length", type=int, default=256, help="tokens in a sample and in a chunk of the perplexity")
    parser.add_argument("--methods", default="wanda,sparsegpt")
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / FILE)
    return parser.parse_args()


@dataclass
class Pruned:
    """The masks of a run, in the order of the walk."""

    masks: list[Tensor] = field(default_factory=list)

    def keep(self, block: int, name: str, mask_OI: Tensor) -> None:
        """Take in the mask of one linear."""
        self.masks.append(mask_OI.clone())

    def difference(self, other: "Pruned") -> float:
        """The share of all weights that only one of the two removes."""
        differing = sum(int((a != b).count_nonzero()) for a, b in zip(self.masks, other.masks, strict=True))
        return differing / sum(mask_OI.numel() for mask_OI in self.masks)


class Bench:
    """One model, one calibration set, one held-out text."""

    def __init__(self, asked: argparse.Namespace) -> None:
        """Draws the calibration set."""
        self._resources = Resources()
        where = {"name": "hf", "path": asked.model} if asked.model else {"name": "tiny"}
        self._model = ModelConfig(**where, dtype=DType.float32, seq_len=asked.length)
        self._data = DataConfig(name=DataSource.local, root=asked.data) if asked.data else DataConfig(name=DataSource.sample)
        self._source = open_source(self._data)
        self._sparsity = UnstructuredConfig(name="unstructured", ratio=asked.ratio)
        self._calib = CalibConfig(name="c4", num_samples=asked.samples, seq_len=asked.length)
        settings = EvalConfig(name="rounding", perplexity=["wikitext2"], seq_len=asked.length, num_chunks=asked.chunks)
        (self._metric,) = plan_metrics(settings, self._data)
        self._tokenizer = self._resources.tokenizer(self._model)
        recipe = Recipe(self._calib, None, self._data, self._model)
        self._tokens_NL = build(recipe, self._source, self._tokenizer).tokens_NL

    def measure_method(self, name: str) -> Rounding:
        """All runs of one method."""
        first: Pruned | None = None
        runs = []
        for run, batch_size, is_reversed in RUNS:
            start = time.perf_counter()
            masks = Pruned()
            value = self._prune_and_score(name, batch_size, is_reversed, masks)
            first = first or masks
            runs.append(Run(run, batch_size, is_reversed, math.log(value), first.difference(masks)))
            seconds = time.perf_counter() - start
            mask = f"{runs[-1].mask_difference:.4%}"
            print(f"{name:10} {run:17} perplexity {value:9.4f}  mask {mask}  {seconds:.0f} s", flush=True)
        return Rounding(
            model=self._model.name,
            method=name,
            sparsity=describe_sparsity(self._sparsity),
            metric=self._metric.name,
            num_samples=self._calib.num_samples,
            seq_len=self._calib.seq_len,
            runs=runs,
        )

    def _prune_and_score(self, name: str, batch_size: int, is_reversed: bool, masks: Pruned) -> float:
        """The perplexity of the model that a run prunes."""
        loaded = self._resources.dense_model(self._model, "cpu")
        order = slice(None) if not is_reversed else torch.arange(len(self._tokens_NL) - 1, -1, -1)
        prune_model(
            loaded.model,
            CalibrationSet.of_tokens(self._tokens_NL[order]),
            build_method(KNOBS[name]),
            build_pattern(self._sparsity),
            batch_size=batch_size,
            seed=0,
            on_mask=masks.keep,
        )
        return measure(self._metric, Subject(loaded.model, loaded.tokenizer, batch_size=8), self._source).metric.value


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
