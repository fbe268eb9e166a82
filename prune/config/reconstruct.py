"""The reconstruct axis: whether the kept weights are refitted after the mask; see prune/pruning/reconstruct.py."""

from dataclasses import dataclass
from enum import Enum

from prune.config.checks import reject, require_at_least


class Granularity(str, Enum):
    """What is refitted at once: a whole block, or each of its parts that hold pruned linears (attention, MLP)."""

    block = "block"
    submodules = "submodules"


class RefitInputs(str, Enum):
    """What enters a block in its refit: outputs of the dense blocks before it, or of the refitted ones."""

    dense = "dense"
    pruned = "pruned"


@dataclass(kw_only=True, slots=True)
class ReconstructConfig:
    """The kept weights stay as the method leaves them."""

    name: str = "none"


@dataclass(kw_only=True, slots=True)
class BlockReconstructConfig(ReconstructConfig):
    """The kept weights of each block are refitted to the dense block's outputs (arXiv 2510.14444)."""

    name: str = "block"
    granularity: Granularity = Granularity.block
    """submodules: each part of the block (attention, then MLP) by itself, to the dense part's outputs."""
    inputs: RefitInputs = RefitInputs.dense
    """Whose outputs enter the block: the target is what the block, still dense, makes of the same inputs."""
    epochs: int = 1
    """Passes over the calibration set."""
    rate: float = 1e-5
    """Learning rate of AdamW at its highest; it rises over the first tenth of the steps and falls to 0, both linearly."""
    batch_size: int = 2
    """Sequences in a step."""

    def __post_init__(self) -> None:
        require_at_least("reconstruct.epochs", self.epochs, 1)
        require_at_least("reconstruct.batch_size", self.batch_size, 1)
        if not self.rate > 0:
            reject("reconstruct.rate", self.rate, "it must be a number above 0, as in reconstruct.rate=1e-5")


RECONSTRUCTIONS = (ReconstructConfig, BlockReconstructConfig)
"""The options of the axis."""
