"""COLA's third stage (arXiv 2510.10618): the candidates that stand for the regions of the dense model's activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prune.calib.embeddings import DECIMALS, kmeans, token_means, watched_outputs
from prune.calib.material import unwatched
from prune.calib.selection import Pick, Pool, Selector, told
from prune.config.checks import require_at_least
from prune.config.select import SelectConfig
from prune.lazy import torch
from prune.models.blocks import find_blocks
from prune.models.ragged import over_sequences

if TYPE_CHECKING:
    from torch import Tensor

NUM_STARTS = 10
"""Runs of k-means, of which the best counts, as in the authors' code."""
TINY = 1e-8
"""Added to lengths before division, as in the authors' code."""


@dataclass(kw_only=True, slots=True)
class ActivationConfig(SelectConfig):
    """Takes the rows or windows nearest to the centres of as many clusters as are needed, in the model's activations."""

    name: str = "activation"
    dimensions: int = 64
    """Number of dimensions that the activations are projected to."""

    def __post_init__(self) -> None:
        SelectConfig.__post_init__(self)
        require_at_least("select.dimensions", self.dimensions, 1)


@dataclass(frozen=True)
class Activation(Selector):
    """Orders by the rank inside a cluster: all the nearest to their centres first, then all the second nearest.

    Clusters are as many as rows or windows are needed. See `project_outputs` for the space.
    """

    dimensions: int

    @property
    def needs_model(self) -> bool:
        """Always."""
        return True

    def order(self, pool: Pool) -> Sequence[Pick]:
        """By the rank, and candidates of one rank in the order of the pool."""
        import numpy as np

        sequences = [candidate.token_ids for candidate in pool.candidates]
        material = pool.material
        projected_ND = project_outputs(material.dense(), sequences, self.dimensions, pool.seed, material.advance)
        rows_ND = projected_ND.double().round(decimals=DECIMALS).numpy()
        cluster_of, centres_KD = kmeans(rows_ND, min(pool.num_needed, len(rows_ND)), pool.seed, NUM_STARTS)
        distances = np.linalg.norm(rows_ND - centres_KD[cluster_of], axis=1).tolist()
        members: dict[int, list[int]] = {}
        for index in sorted(range(len(distances)), key=distances.__getitem__):
            members.setdefault(cluster_of[index], []).append(index)
        ranked = sorted((rank, index) for of_one in members.values() for rank, index in enumerate(of_one))
        return [Pick(index, {"cluster": cluster_of[index], "distance": told(distances[index])}) for _, index in ranked]


def project_outputs(
    model: Any,
    sequences: Sequence[Sequence[int]],
    dimensions: int,
    seed: int,
    on_progress: Callable[[int, int], None] = unwatched,
) -> Tensor:
    """float32 N x dimensions: for each block the mean of its output over the tokens, of length 1; all blocks one after the
    other; times a matrix of normal numbers of variance 1 / dimensions.

    The authors' code (cola/sample_selection.py) takes the output of a submodule of each block that the common models lack,
    and counts padding in the means; the paper speaks of blocks and tokens, and so does this. The product is summed block by
    block, so that the long rows are never held.

    Raises:
        UserError: there is no memory for a single sequence.
    """
    import numpy as np

    blocks = list(find_blocks(model))
    hidden_size = model.config.get_text_config().hidden_size
    normal = np.random.RandomState(seed % 2**32).standard_normal((len(blocks), hidden_size, dimensions))
    matrix_KHD = torch.from_numpy(normal / np.sqrt(dimensions)).float()

    def forward(ids_BL: Tensor, lengths_B: Tensor) -> Tensor:
        with watched_outputs(blocks) as outputs:
            model.base_model(input_ids=ids_BL.to(model.device), use_cache=False)
        projected_BD = torch.zeros(len(ids_BL), dimensions)
        for hidden_BLH, matrix_HD in zip(outputs, matrix_KHD, strict=True):
            means_BH = token_means(hidden_BLH, lengths_B).cpu()
            projected_BD += means_BH / (means_BH.norm(dim=1, keepdim=True) + TINY) @ matrix_HD
        return projected_BD

    found, none = over_sequences(sequences, forward, on_progress), torch.zeros(dimensions)
    return torch.stack([found.get(place, none) for place in range(len(sequences))])
