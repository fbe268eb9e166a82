"""What allocations, dropped blocks and dropped experts cost, in quality and in time, by the calls of a notebook.

    python -m bench.parts --model FOLDER --data ROOT [--samples 8] [--length 128] [--out FILE]

Allocations and blocks: of the model in FOLDER, the perplexity on 16 windows of WikiText-2's test split. Experts: of a random
mixture (three blocks of 16 experts, of which a token gets 4; the folder's tokenizer), the squared change of the last hidden
states relative to their squares, on another draw of C4. Seconds are of the processor, one thread, from a
calibration set to the pruned model. Results go to bench/results/parts.json.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import transformers

from prune import Model
from prune.files import write_json

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = {
    f"sparsity.allocation={name}": ("method=wanda", "sparsity.ratio=0.7", f"sparsity.allocation={name}")
    for name in ("uniform", "owl", "alphapruning")
}
BLOCKS = {
    "sparsity=blocks sparsity.search=greedy": ("method=wanda", "sparsity=blocks", "sparsity.num=3"),
    "sparsity=blocks sparsity.search=evolution": (
        *("method=wanda", "sparsity=blocks", "sparsity.num=3", "sparsity.search=evolution"),
        *("sparsity.population=10", "sparsity.generations=8"),
    ),
}
EXPERTS = {
    f"sparsity=experts sparsity.criterion={name}": (
        "method=wanda",
        "sparsity=experts",
        "sparsity.num=4",
        f"sparsity.criterion={name}",
    )
    for name in ("usage", "norm", "reap", "entropy", "router", "exact")
}


def main() -> None:
    """Measure, print a line a run, and keep the numbers."""
    asked = parse()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    runs: dict[str, dict[str, Any]] = {}
    for line, told in chain(of_real_model(asked), of_mixture(asked)):
        runs[line] = told
        print(line, told, flush=True)
    about = {"model": Path(asked.model).name, "samples": asked.samples, "length": asked.length}
    about |= {"measured": date.today().isoformat(), "machine": platform.machine(), "torch": torch.__version__}
    write_json(asked.out, about | {"runs": runs})


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results/parts.json")
    return parser.parse_args()


def opened(folder: str, asked: argparse.Namespace) -> tuple[Model, Any]:
    """The model of a folder, and a calibration set of C4."""
    model = Model("model=hf", f"model.path={folder}", "data=local", f"data.root={asked.data}")
    return model, c4(model, asked)


def c4(model: Model, asked: argparse.Namespace, *words: str) -> Any:
    """A calibration set of C4."""
    return model.calibration_set("calib=c4", f"calib.num_samples={asked.samples}", f"calib.seq_len={asked.length}", *words)


def pruned(model: Model, calibration: Any, words: tuple[str, ...]) -> float:
    """Prune the dense model; returns the seconds of the processor."""
    model.restore()
    begun = time.process_time()
    model.prune(calibration, *words)
    seconds: float = time.process_time() - begun
    return round(seconds, 2)


def of_real_model(asked: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """The dense perplexity, then that of each allocation and search."""
    model, calibration = opened(asked.model, asked)

    def perplexity() -> float:
        scores = model.score("eval.perplexity=[wikitext2]", "eval.tasks=[]", "eval.num_chunks=16", "eval.seq_len=256")
        return round(scores["ppl/wikitext2"].value, 2)

    yield "dense", {"perplexity": perplexity()}
    for line, words in (WEIGHTS | BLOCKS).items():
        seconds = pruned(model, calibration, words)
        yield line, {"perplexity": perplexity(), "cpu_seconds": seconds}


def of_mixture(asked: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """How far each criterion moves the last hidden states of a random mixture."""
    config = transformers.Qwen3MoeConfig(
        **{"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16},
        **{
            "num_experts": 16,
            "num_experts_per_tok": 4,
            "moe_intermediate_size": 64,
            "norm_topk_prob": True,
            "initializer_range": 0.1,
        },
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked.model)
    config.vocab_size = len(tokenizer)
    transformers.set_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        transformers.Qwen3MoeForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        model, calibration = opened(folder, asked)
        tokens_NL = c4(model, asked, "calib.draw=1").tokens_NL
        dense_NLH = last_states(model, tokens_NL)
        for line, words in EXPERTS.items():
            seconds = pruned(model, calibration, words)
            change = (last_states(model, tokens_NL) - dense_NLH).square().sum() / dense_NLH.square().sum()
            yield line, {"change": round(float(change), 4), "cpu_seconds": seconds}


@torch.no_grad()
def last_states(model: Model, tokens_NL: torch.Tensor) -> torch.Tensor:
    """The hidden states after the last block."""
    states: torch.Tensor = model.model.base_model(tokens_NL, use_cache=False).last_hidden_state
    return states.double()


if __name__ == "__main__":
    main()
