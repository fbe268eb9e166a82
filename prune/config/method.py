"""The method axis: what all methods share; each method's own knobs stand beside its mathematics."""

from dataclasses import dataclass, field
from enum import Enum

from prune.config.checks import MISSING


class Propagation(str, Enum):
    """Which blocks' outputs the later blocks are pruned by: those of pruned blocks, as published, or of dense ones."""

    pruned = "pruned"
    dense = "dense"


@dataclass(kw_only=True, slots=True)
class MethodConfig:
    """A pruning method; each has a subclass with its own knobs."""

    name: str = MISSING
    targets: list[str] = field(default_factory=lambda: ["*"])
    """Which linears of the blocks are pruned: patterns of their names, `<number of the block>.<name in the block>`. A `*`
    stands for anything, so `*.mlp.*` are those of the feed-forward part, and `0.*` those of the first block."""
    skip: list[str] = field(default_factory=list)
    """Which of them are left as they are."""
    propagation: Propagation = Propagation.pruned
    """dense: every block is pruned by inputs from the dense model, so that one pass serves all cells of a calibration set,
    whatever their ratio, pattern or method. Another result than pruned; without effect on methods that need no inputs."""

    def num_compared(self, num_outputs: int, num_inputs: int) -> int:
        """How many weights of a linear share one threshold: a ratio of fewer than one of these removes nothing."""
        return num_outputs * num_inputs

    def statistic_flops(self, num_inputs: int, num_tokens: int) -> float:
        """What its statistic of the inputs of a linear costs, and what is computed of it once: next to nothing for norms."""
        return 0.0

    def solve_flops(self, num_outputs: int, num_inputs: int) -> float:
        """What it computes for a linear beside the scores of its weights, once there is a statistic."""
        return 0.0
