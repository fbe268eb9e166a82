"""The method axis: what all methods share; each method's own knobs stand beside its mathematics."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from prune.config.checks import MISSING
from prune.config.options import own_knobs
from prune.config.sparsity import SparsityConfig


class Propagation(str, Enum):
    """Which blocks' outputs the later blocks are pruned by: those of pruned blocks, as published, or of dense ones."""

    pruned = "pruned"
    dense = "dense"


class ExpertTokens(str, Enum):
    """Which tokens an expert of a mixture is pruned by: those that the router sends to it, or all."""

    routed = "routed"
    all = "all"


class RouterWeight(str, Enum):
    """What a token counts in the statistics of an expert that it is routed to: 1, its gate from the router, or that
    squared."""

    none = "none"
    gate = "gate"
    gate2 = "gate2"


@dataclass(kw_only=True, slots=True)
class MethodConfig:
    """A pruning method; each has a subclass with its own knobs."""

    name: str = MISSING
    targets: list[str] = field(default_factory=lambda: ["*"])
    """Which linears of the blocks are pruned: patterns of their names, `<number of the block>.<name in the block>`. A `*`
    stands for anything, so `*.mlp.*` are those of the feed-forward part, and `0.*` those of the first block."""
    skip: list[str] = field(default_factory=list)
    """Which of them stay dense."""
    propagation: Propagation = Propagation.pruned
    """dense: every block is pruned by inputs from the dense model, so one pass serves all cells of a calibration set,
    whatever their ratio, pattern or method. The result differs from that of pruned; without effect on methods that need no
    inputs."""
    experts: ExpertTokens = ExpertTokens.routed
    """all: every token's inputs count for every expert of its layer, whichever the router sends it to. Without effect on
    models without experts."""
    router_weight: RouterWeight = RouterWeight.none
    """gate2 is that of MoE-Pruner (arXiv 2410.12013). Tokens that come to an expert only because of `min_tokens` count 1."""
    min_tokens: int | None = None
    """An expert that receives fewer tokens is pruned by all tokens of its layer. None: 32 where a method needs a Hessian,
    else 1."""
    output_error: bool = False
    """Measure the error of the outputs (`output_error` in blocks.jsonl) for a method that gathers no Hessian, too: that of
    every linear's inputs is gathered beside what the method needs, at the time and memory of SparseGPT's statistics. The
    weights stay the same. SparseGPT, ALPS, ADMM and swaps measure it anyway."""

    def identity(self, sparsity: SparsityConfig) -> dict[str, Any]:
        """Plain values of its own knobs that can matter under a sparsity; at the value that null stands for, null."""
        knobs = own_knobs(self, MethodConfig)
        return {key: value.value if isinstance(value, Enum) else value for key, value in knobs.items()}

    def num_compared(self, num_outputs: int, num_inputs: int) -> int:
        """How many weights of a linear share one threshold: a ratio of fewer than one of these removes nothing."""
        return num_outputs * num_inputs

    def statistic_flops(self, num_inputs: int, num_tokens: int) -> float:
        """What its statistic of a linear's inputs costs, with what is computed from it once: next to nothing for norms."""
        return 0.0

    def solve_flops(self, num_outputs: int, num_inputs: int) -> float:
        """What it computes for a linear beside the scores of its weights, once there is a statistic."""
        return 0.0
