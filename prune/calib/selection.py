"""Which candidates of a pool a calibration set is made of.

A selector is one module in selectors/: a dataclass `<Name>Config` of its knobs and a class `<Name>` that takes them; an
installed package offers its own as an entry point of the group `prune.selectors` that names such a module. The knobs
`random` have no class: the first candidates of the draw's shuffle are taken.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prune.calib.material import Material
from prune.config.data import DataConfig
from prune.data.dataset import RowSet


@dataclass(frozen=True, slots=True)
class Candidate:
    """A window of a text, or a row of a question set as the prompt renders it."""

    text: str
    token_ids: Sequence[int]
    """As a model reads it: BOS first, where a sequence has one."""
    num_tokens: int
    """Of the row, or of the whole document that the window was cut from; without BOS."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What a selector chooses from."""

    candidates: Sequence[Candidate]
    """In the order of the draw's shuffle."""
    num_needed: int
    """How many are taken from the front of the order; a few more or less where rows of other lengths fill a set."""
    seed: int
    """Seeds the draws of the selector itself."""
    material: Material


@dataclass(frozen=True, slots=True)
class Pick:
    """A candidate's place in the selector's order."""

    index: int
    """In `Pool.candidates`."""
    why: Mapping[str, Any] = field(default_factory=dict)
    """For the manifest: its cluster, its score."""


class Selector(ABC):
    """A way to order a pool; its knobs are the parameters of its class."""

    @property
    def needs_model(self) -> bool:
        """Whether it looks at the dense model, whose weights then identify the calibration set."""
        return False

    def reads(self, data: DataConfig) -> Sequence[tuple[RowSet, str]]:
        """The splits of other sets that it reads.

        Raises:
            UserError: there is no such set.
        """
        return ()

    def identity(self, data: DataConfig) -> Mapping[str, Any]:
        """What else identifies its choice, beside its knobs: rows of another set that it reads."""
        return {}

    def check(self, num_candidates: int) -> None:  # noqa: B027  (most do with any pool)
        """Make sure that a pool of `num_candidates` candidates is enough to order.

        Raises:
            UserError: it is not.
        """

    @abstractmethod
    def order(self, pool: Pool) -> Sequence[Pick]:
        """Every candidate once, the best first; equal candidates in the order of the pool.

        Raises:
            UserError: the texts cannot be ordered.
        """

    def describe(self, picks: Sequence[Pick], taken: Collection[int]) -> Mapping[str, Any]:
        """For the manifest, what is to be said of the choice as a whole; `taken` are the indices that the set is made of."""
        return {}


def by_score(scores: Sequence[float], why: Sequence[Mapping[str, Any]]) -> list[Pick]:
    """The candidates by falling score; those of equal scores, as `told`, in the order of the pool."""
    order = sorted(range(len(scores)), key=lambda index: -told(scores[index]))
    return [Pick(index, why[index]) for index in order]


def told(value: float) -> float:
    """A score with six digits: further ones differ between machines, and for one text between batches."""
    return float(f"{value:.6g}")
