"""Results of generated numbers for the picture at a glance: sets that do not differ, or of which one does, with items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from prune.report.numbers import Array
from tests.report.result_files import Outputs, to_yaml

PERPLEXITIES = ("ppl/wikitext2", "ppl/c4", "ppl/lambada")
BITS = ("bpb/gsm8k", "bpb/svamp", "bpb/arc_easy", "bpb/piqa")
CHOICES = ("acc/rte", "acc_mc/rte", "acc_mc/boolq")
SETS = ("pile", "oscar", "wikitext2", "gsm8k", "svamp", "mawps", "esnli", "rte", "commonsense_qa", "piqa", "wmt14", "random")
TEXTS = ("c4", "pile", "oscar", "wikitext2", "random")
PROMPTS = ("icl", "cot", "single", "zero_shot", "chat", "autoregressive")


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviations of a score."""

    draws: float = 0.01
    items: float = 0.05
    num_items: int = 20


def write_results(
    root: Path,
    rows: Sequence[tuple[str, str | None]],
    draws: int,
    *,
    metrics: Sequence[str] = PERPLEXITIES + BITS,
    shifts: Mapping[str, float] | None = None,
    reversed_too: bool = False,
    methods: Sequence[str] = ("wanda",),
    noise: Noise | None = None,
    seed: int = 0,
) -> Outputs:
    """Cells of C4 and of the rows (set, prompt), whose scores are worse by their set's shift, beside the dense model."""
    outputs = Outputs(root)
    (root / "cells").mkdir(parents=True, exist_ok=True)
    outputs.measures = {name: BITS_PER_BYTE for name in metrics if name.startswith("bpb/")}
    rng = np.random.default_rng(seed)
    noise = noise or Noise()
    base = {name: rng.normal(2.0, 0.3, noise.num_items) for name in metrics}
    outputs.dense({name: scored(name, base[name] - 0.7) for name in metrics})
    for method in methods:
        for draw in range(draws):
            for calib, prompt in [("c4", None), *rows]:
                move = (shifts or {}).get(calib, 0.0) + rng.normal(0, noise.draws)
                moved = {name: base[name] + move + rng.normal(0, noise.items, noise.num_items) for name in metrics}
                scores = {name: scored(name, values) for name, values in moved.items()}
                outputs.cell(calib, prompt, scores=scores, draw=draw, method=method)
                if reversed_too and calib == "c4":
                    nearly = {name: scored(name, values * 1.001) for name, values in moved.items()}
                    reverse(outputs.cell("c4", scores=nearly, draw=draw, method=method))
    outputs.grid("generated")
    return outputs


BITS_PER_BYTE = {"unit": "bits per byte", "scale": "linear", "higher_is_better": False, "decimals": 3}


def scored(name: str, values: Array) -> list[float]:
    """Losses and bits as they are; of answers whether they are right."""
    return [float(value < 2.2) for value in values] if name.startswith("acc") else values.tolist()


def reverse(folder: Path) -> None:
    """Make a cell's calibration set that of another in reverse order."""
    change_set(folder, reverse=True)


def give_parts(folder: Path, **parts: int) -> None:
    """Make a cell's calibration set a mixture."""
    change_set(folder, parts=parts, rows_of={name: {"rows": f"of {name}"} for name in parts})


def change_set(folder: Path, **knobs: object) -> None:
    """Change what a cell says of its calibration set."""
    path = folder / "config.yaml"
    config: dict[str, dict[str, dict[str, object]]] = yaml.safe_load(path.read_text())
    config["canonical"]["calib"] |= knobs
    path.write_text(to_yaml(config))


def many_rows(number: int) -> list[tuple[str, str | None]]:
    """So many rows beside C4."""
    rows: list[tuple[str, str | None]] = [(name, None) for name in SETS if name in TEXTS]
    rows += [(name, prompt) for prompt in PROMPTS for name in SETS if name not in TEXTS]
    return rows[:number]
