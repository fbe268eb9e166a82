"""The candidates most like the rows of another set, or of the pool itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

from prune.calib.embeddings import embed
from prune.calib.material import Material
from prune.calib.selection import Candidate, Pick, Pool, Selector, by_score, told
from prune.config.checks import require_at_least
from prune.config.data import DataConfig
from prune.config.own import BadRows
from prune.config.select import Embedding, SelectConfig
from prune.data.dataset import Dataset, QuestionSet, RowSet, TextSet
from prune.data.identity import data_identity
from prune.data.lookup import dataset_of
from prune.data.registry import DATASETS, find_dataset
from prune.data.scan import usable_rows
from prune.data.sources.rows import Mapped
from prune.data.sources.source import examples, texts
from prune.errors import UserError


@dataclass(kw_only=True, slots=True)
class MostSimilarConfig(SelectConfig):
    """Takes the rows or windows most like the training rows of another set."""

    name: str = "most_similar"
    target: str | None = None
    """A set, shipped or of the user's own; null compares the pool with itself, which takes its most typical texts."""
    target_rows: int = 1000
    """Number of the target's rows to compare with, drawn by calib.seed; all where it has no more."""
    embedding: Embedding = Embedding.tfidf

    def __post_init__(self) -> None:
        SelectConfig.__post_init__(self)
        require_at_least("select.target_rows", self.target_rows, 1)

    @property
    def sets(self) -> Sequence[str]:
        """The target."""
        return () if self.target is None else (self.target,)


@dataclass(frozen=True)
class MostSimilar(Selector):
    """Orders by the mean cosine of a candidate's embedding with those of the target's rows, largest first.

    Without a target this is the selector of that name in the ZipCal study (arXiv 2603.16105), whose embedding is MiniLM's.
    """

    target: str | None
    target_rows: int
    embedding: Embedding

    @property
    def needs_model(self) -> bool:
        """Where the model's hidden states are what is compared."""
        return self.embedding is Embedding.model

    def reads(self, data: DataConfig) -> Sequence[tuple[RowSet, str]]:
        """The training rows of the target."""
        if self.target is None:
            return ()
        try:
            dataset = _with_rows(find_dataset(self.target, data.sets), self.target)
        except UserError as error:
            raise UserError(f"select.target={self.target}: {error}") from None
        return [(dataset, dataset.train_split)]

    def identity(self, data: DataConfig) -> Mapping[str, Any]:
        """The rows of the target; a set of the user's own has no name there, as it is its content."""
        if self.target is None:
            return {"target_rows": None}
        ((dataset, split),) = self.reads(data)
        return {
            "target": None if dataset.own is not None else dataset.name,
            "of_target": data_identity(dataset, [split], data),
        }

    def order(self, pool: Pool) -> Sequence[Pick]:
        """By the mean cosine."""
        import numpy as np

        rows_N, others_M = embed(pool, self.embedding, () if self.target is None else self._rows(pool, self.target))
        centre_H = np.asarray((rows_N if self.target is None else others_M).mean(axis=0)).ravel()
        scores = np.asarray(rows_N @ centre_H).ravel().tolist()
        return by_score(scores, [{"similarity": told(score)} for score in scores])

    def _rows(self, pool: Pool, target: str) -> list[Candidate]:
        """Rows of the target with text, drawn by the seed; what a model reads of them is as long as a candidate at most."""
        encoder = pool.material.encoder
        drawn = _draw_texts(pool.material, target, self.target_rows, pool.seed)
        longest = max(len(candidate.token_ids) for candidate in pool.candidates)
        tokens = encoder.plain(drawn) if self.needs_model else [[] for _ in drawn]
        return [
            Candidate(text, [*encoder.head(), *ids][:longest], len(ids)) for text, ids in zip(drawn, tokens, strict=True)
        ]


def _with_rows(dataset: Dataset, name: str) -> TextSet | QuestionSet:
    if not isinstance(dataset, TextSet | QuestionSet):
        able = [other for other, found in DATASETS.items() if isinstance(found, TextSet | QuestionSet)]
        raise UserError(f"{name} has no rows of its own. Sets with rows: {', '.join(able)}.")
    return dataset


def _draw_texts(material: Material, target: str, num_rows: int, seed: int) -> list[str]:
    """The texts of the rows, or their questions with the answers; rows that cannot be used and empty ones are left out."""
    dataset = _with_rows(dataset_of(material.source, target), target)
    split, source = dataset.train_split, material.source
    usable = list(usable_rows(source, dataset, split, material.data, BadRows.skip))
    Random(f"select/{target}/{seed}").shuffle(usable)
    documents: Sequence[str] = (
        texts(source, dataset, split)
        if isinstance(dataset, TextSet)
        else Mapped(examples(source, dataset, split), lambda _, example: example.pair(rationale=False))
    )
    drawn = list(islice((text for text in map(documents.__getitem__, usable) if text.strip()), num_rows))
    if not drawn:
        raise UserError(f"select.target={target}: none of its {len(documents)} training rows has text. Take another set.")
    return drawn
