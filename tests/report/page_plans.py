"""What the hand-made reports for the tests of the page are made of."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What a hand-made report is made of."""

    models: Sequence[str]
    methods: Sequence[str]
    sparsities: Sequence[float]
    calibs: Sequence[tuple[str, str]]
    """Name and category; pre-training sets have no prompt."""
    prompts: Sequence[str]
    num_draws: int
    metrics: Sequence[tuple[str, str]]
    """Name and category of its set."""
    noise: float = 0.0
    """Relative size of a random part of each mean."""


SMALL = Plan(
    models=["tiny", "gemma3_270m"],
    methods=["wanda", "sparsegpt"],
    sparsities=[0.5, 0.7],
    calibs=[("c4", "pre-training"), ("pile", "pre-training"), ("gsm8k", "arithmetic"), ("rte", "NLI")],
    prompts=["icl", "cot"],
    num_draws=2,
    metrics=[("ppl/wikitext2", "pre-training"), ("ppl/c4", "pre-training"), ("acc/gsm8k", "arithmetic"), ("acc/rte", "NLI")],
)

LARGE = Plan(
    models=[f"model_{number}" for number in range(5)],
    methods=["magnitude", "wanda", "sparsegpt", "random"],
    sparsities=[0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9],
    calibs=[("c4", "pre-training"), ("pile", "pre-training"), ("oscar", "pre-training"), ("wikitext2", "pre-training")]
    + [(name, "arithmetic") for name in ("gsm8k", "svamp", "mawps")]
    + [(name, "NLI") for name in ("esnli", "rte", "anli_r1", "anli_r2", "anli_r3")]
    + [(name, "commonsense") for name in ("boolq", "race", "winogrande", "commonsense_qa")]
    + [("wmt14", "translation")],
    prompts=["icl", "cot", "single", "zero_shot"],
    num_draws=1,
    metrics=[(f"ppl/text_{number}", "pre-training") for number in range(4)]
    + [(f"acc/task_{number}", "NLI") for number in range(16)],
    noise=0.01,
)
"""180 groups of 56 rows, and 5 dense cells: 10,085 cells with 20 metrics, each a row of its own; numbers with all digits."""
