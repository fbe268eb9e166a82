"""EvoP's cluster-based sampling (CCDS, arXiv 2502.14910): equal numbers from each group of similar texts."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prune.calib.embeddings import embed, kmeans
from prune.calib.selection import Pick, Pool, Selector
from prune.config.checks import require_at_least
from prune.config.select import Embedding, SelectConfig
from prune.errors import UserError

NUM_STARTS = 10
"""Runs of k-means, of which the best counts. EvoP's code leaves it to scikit-learn: one run."""


@dataclass(kw_only=True, slots=True)
class ClustersConfig(SelectConfig):
    """Takes equal numbers from each cluster of the pool: k-means over embeddings of the texts."""

    name: str = "clusters"
    num_clusters: int = 5
    """Number of clusters in the pool."""
    embedding: Embedding = Embedding.tfidf

    def __post_init__(self) -> None:
        SelectConfig.__post_init__(self)
        require_at_least("select.num_clusters", self.num_clusters, 1)


@dataclass(frozen=True)
class Clusters(Selector):
    """Takes from the clusters in turn, from each in the order of the pool; those that run out are passed over.

    The paper's idea: its code draws a cluster for each chunk and keeps one counter for all clusters, so that a sequence
    mixes clusters and the numbers are equal in the mean only (src/utils/data_utils.py). Its embedding is BERT's.
    """

    num_clusters: int
    embedding: Embedding

    @property
    def needs_model(self) -> bool:
        """Where the model's hidden states are what is compared."""
        return self.embedding is Embedding.model

    def check(self, num_candidates: int) -> None:
        """A cluster needs a candidate."""
        if self.num_clusters > num_candidates:
            raise UserError(
                f"select.num_clusters={self.num_clusters}: the pool has {num_candidates} candidates only, fewer than "
                f"clusters. Ask for fewer, as in select.num_clusters={max(1, min(5, num_candidates // 2))}, or raise "
                "select.pool."
            )

    def order(self, pool: Pool) -> Sequence[Pick]:
        """One of each cluster, then another of each, and so on."""
        rows_N, _ = embed(pool, self.embedding)
        cluster_of, _ = kmeans(rows_N, self.num_clusters, pool.seed, NUM_STARTS)
        return in_turn(cluster_of)

    def describe(self, picks: Sequence[Pick], taken: Collection[int]) -> Mapping[str, Any]:
        """For each cluster its size, how many were taken, and whether it ran out."""
        sizes = Counter(pick.why["cluster"] for pick in picks)
        of_taken = Counter(pick.why["cluster"] for pick in picks if pick.index in taken)
        return {
            "clusters": [
                {"cluster": cluster, "size": size, "taken": of_taken[cluster], "ran_out": of_taken[cluster] == size}
                for cluster, size in sorted(sizes.items())
            ]
        }


def in_turn(cluster_of: Sequence[int]) -> list[Pick]:
    """The candidates, the first of each cluster before the second of any; clusters in the order of their numbers."""
    seen = Counter[int]()
    ranked = []
    for index, cluster in enumerate(cluster_of):
        ranked.append((seen[cluster], cluster, index))
        seen[cluster] += 1
    return [Pick(index, {"cluster": cluster}) for _, cluster, index in sorted(ranked)]
