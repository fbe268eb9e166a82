"""Texts as vectors of length 1, by which selectors compare them.

Shapes: N texts, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prune.calib.material import unwatched
from prune.config.select import Embedding
from prune.errors import UserError
from prune.lazy import torch
from prune.models.ragged import over_sequences

if TYPE_CHECKING:
    from torch import Tensor

    from prune.calib.selection import Candidate, Pool

DECIMALS = 5
"""Decimals of a model's vectors that k-means sees; further ones differ between machines, and between batches."""


def embed(pool: Pool, embedding: Embedding, others: Sequence[Candidate] = ()) -> tuple[Any, Any]:
    """(the candidates' vectors, those of `others`), one per row: sparse for tfidf, else float64.

    tfidf weighs words by how many of all these texts have them.

    Raises:
        UserError: no text has a word.
    """
    candidates = [*pool.candidates, *others]
    if embedding is Embedding.tfidf:
        rows_N = tfidf([candidate.text for candidate in candidates])
    else:
        sequences = [candidate.token_ids for candidate in candidates]
        means_NH = last_hidden_means(pool.material.dense(), sequences, pool.material.advance)
        rows_N = torch.nn.functional.normalize(means_NH.double(), dim=1).round(decimals=DECIMALS).numpy()
    return rows_N[: len(pool.candidates)], rows_N[len(pool.candidates) :]


def tfidf(texts: Sequence[str]) -> Any:
    """Sparse N x words: count x (1 + ln((1 + N) / (1 + texts with the word))), each row of length 1 (0 without words).

    Words are runs of letters, digits and underscores, in lower case.

    Raises:
        UserError: no text has a word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        return TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit_transform(texts)
    except ValueError as error:
        if "empty vocabulary" not in str(error):
            raise
        raise UserError("None of the texts has a word to compare them by. Take select.embedding=model.") from None


def last_hidden_means(
    model: Any, sequences: Sequence[Sequence[int]], on_progress: Callable[[int, int], None] = unwatched
) -> Tensor:
    """float32 N x H: the mean over a sequence's tokens of what the model's head is given; 0 of an empty sequence.

    Raises:
        UserError: there is no memory for a single sequence.
    """

    def forward(ids_BL: Tensor, lengths_B: Tensor) -> Tensor:
        return token_means(model.base_model(input_ids=ids_BL.to(model.device), use_cache=False)[0], lengths_B)

    found = over_sequences(sequences, forward, on_progress)
    none = torch.zeros_like(next(iter(found.values()), torch.zeros(1)))
    return torch.stack([found.get(place, none) for place in range(len(sequences))])


def token_means(hidden_BLH: Tensor, lengths_B: Tensor) -> Tensor:
    """float32 B x H: the mean over the first tokens of each sequence, as many as `lengths_B` says."""
    lengths_B = lengths_B.to(hidden_BLH.device)
    real_BL = torch.arange(hidden_BLH.shape[1], device=hidden_BLH.device) < lengths_B[:, None]
    return (hidden_BLH.float() * real_BL[:, :, None]).sum(dim=1) / lengths_B[:, None]


def kmeans(rows_N: Any, num_clusters: int, seed: int, num_starts: int) -> tuple[list[int], Any]:
    """(cluster of each row, centres): the best of several k-means runs from k-means++ starts.

    Clusters are numbered in the order of their first rows. One thread works, as the order of its sums decides ties. Where
    fewer rows differ than there are clusters, some stay empty.
    """
    import warnings

    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(num_clusters, n_init=num_starts, random_state=seed % 2**32).fit(rows_N)
    labels = fitted.labels_.tolist()
    number = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    empty = [label for label in range(num_clusters) if label not in number]
    return [number[label] for label in labels], np.asarray(fitted.cluster_centers_)[[*number, *empty]]


@contextmanager
def watched_outputs(blocks: Sequence[Any]) -> Iterator[list[Tensor]]:
    """Inside, a forward pass of the model appends each block's hidden states to the list that comes back."""
    outputs: list[Tensor] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        outputs.append(output if isinstance(output, torch.Tensor) else output[0])

    handles = [block.register_forward_hook(keep) for block in blocks]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
