"""Tokens a second of the texts that a model writes for calib=generated, beside transformers' own sampling.

    python -m bench.generate --model FOLDER [--batch 8] [--tokens 128] [--runs 3]

Both go on from the same prefixes with the same knobs, batch and number of tokens (no text ends by itself), and take turns.
Seconds are those of the processor with one thread on a CPU, which other programs do not change, and those of the clock on a
GPU; `bare` is greedy generation, which samples nothing. Results go to bench/results/generate.json.
"""

import argparse
import json
import platform
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig

from prune.calib.generation import write_texts
from prune.config.generated import GeneratedSetConfig

RESULTS = Path(__file__).resolve().parent / "results/generate.json"


def main() -> None:
    """Measure, print, and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(asked.model, dtype=getattr(torch, asked.dtype)).to(asked.device).eval()
    seconds = measure(model, asked.batch, asked.tokens, asked.runs)
    rates = {name: [round(asked.batch * asked.tokens / each, 1) for each in several] for name, several in seconds.items()}
    numbers = {
        "tokens_per_s": {name: median(several) for name, several in rates.items()},
        "runs": rates,
        "ours_over_transformers": round(median(rates["ours"]) / median(rates["transformers"]), 3),
        "model": Path(asked.model).name,
        "batch": asked.batch,
        "new_tokens": asked.tokens,
        "dtype": asked.dtype,
        "device": torch.cuda.get_device_name() if asked.device == "cuda" else f"{platform.machine()}, one thread",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }
    print(json.dumps(numbers, indent=2))
    asked.out.write_text(json.dumps(numbers, indent=2) + "\n")


def measure(model: Any, batch: int, num_tokens: int, runs: int) -> dict[str, list[float]]:
    """The seconds of each run, by whose generation it was; a short one of each comes first."""
    knobs = GeneratedSetConfig()
    draw = random.Random(0)
    prefixes = [[draw.randrange(100, 1000) for _ in range(2)] for _ in range(batch)]

    def ours(length: int) -> None:
        names = [str(number) for number in range(batch)]
        written = write_texts(model, prefixes, names, [], knobs, length, lambda: None)
        assert {len(text) for text in written} == {length}

    ways: dict[str, Callable[[int], None]] = {
        "ours": ours,
        "transformers": lambda length: generate(
            model, prefixes, length, do_sample=True, temperature=knobs.temperature, top_k=knobs.top_k, top_p=knobs.top_p,
            repetition_penalty=knobs.repetition_penalty,
        ),
        "bare": lambda length: generate(model, prefixes, length, do_sample=False),
    }  # fmt: skip
    for way in ways.values():
        way(4)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            found[name].append(timed(lambda way=way: way(num_tokens)))  # type: ignore[misc]
    return found


def generate(model: Any, prefixes: list[list[int]], length: int, **settings: Any) -> None:
    """transformers' own generation, without an end of text."""
    own, model.generation_config = model.generation_config, GenerationConfig(pad_token_id=0)
    ids_BL = torch.tensor(prefixes, device=model.device)
    torch.manual_seed(0)
    with torch.inference_mode():
        tokens_BL = model.generate(
            input_ids=ids_BL, attention_mask=torch.ones_like(ids_BL), max_new_tokens=length, **settings
        )
    model.generation_config = own
    assert tokens_BL.shape[1] == ids_BL.shape[1] + length


def timed(work: Callable[[], None]) -> float:
    """Seconds of the processor; of the clock where a GPU computes."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


if __name__ == "__main__":
    main()
