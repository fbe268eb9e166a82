"""The method axis: what all methods share; each method's own knobs stand beside its mathematics."""

from dataclasses import dataclass, field
from enum import Enum

from prune.config.checks import MISSING


class Propagation(str, Enum):
    """Which blocks' outputs the later blocks are pruned by: those of pruned blocks, as published, or of dense ones."""

    pruned = "pruned"
    dense = "dense"


class ExpertTokens(str, Enum):
    """Which tokens an expert of a mixture is pruned by: those that the router sends to it, or all."""

    routed = "routed"
    all = "all"


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
    experts: ExpertTokens = ExpertTokens.routed
    """all: every token's inputs count for every expert of its layer, whichever the router sends it to. Without effect on
    models without experts."""
    min_tokens: int | None = None
    """An expert that fewer tokens came to is pruned by all tokens of its layer; without it 32 where a method needs a
    Hessian, else 1."""

    def num_compared(self, num_outputs: int, num_inputs: int) -> int:
        """How many weights of a linear share one threshold: a ratio of fewer than one of these removes nothing."""
        return num_outputs * num_inputs
