"""Which candidates of a pool a calibration set is made of.

A selector is one module in selectors/: a dataclass `<Name>Config` of its knobs and a class `<Name>` that takes them; an
installed package offers its own as an entry point of the group `prune.selectors` that names such a module. The knobs
`random` have no class: the first candidates of the draw's shuffle are taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from prune.calib.material import Material
from prune.config.data import DataConfig
from prune.data.dataset import RowSet


@dataclass(frozen=True, slots=True)
class Candidate:
    """A window of a text, or a row of a question set as the prompt renders it."""

    text: str
    token_ids: Sequence[int]
    """Its tokens; a window's begin with BOS where it has one."""
    num_tokens: int
    """Of the row, or of the whole document that the window was cut from."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What a selector chooses from."""

    candidates: Sequence[Candidate]
    """In the order of the draw's shuffle."""
    num_needed: int
    """So many of the first in the selector's order are taken, and hardly more."""
    seed: int
    """For what a selector draws itself."""
    material: Material


@dataclass(frozen=True, slots=True)
class Pick:
    """A candidate's place in the selector's order."""

    index: int
    """In `Pool.candidates`."""
    why: Mapping[str, Any] = field(default_factory=dict)
    """For the manifest: its cluster, its score."""


class Selector(Protocol):
    """A way to order a pool."""

    @property
    def needs_model(self) -> bool:
        """Whether it looks at the dense model, whose weights then identify the calibration set."""

    def identity(self, data: DataConfig) -> Mapping[str, Any]:
        """What else identifies its choice, beside its knobs: rows of another set that it reads."""

    def reads(self) -> Sequence[tuple[RowSet, str]]:
        """The splits of other sets that it reads."""

    def order(self, pool: Pool) -> Sequence[Pick]:
        """Every candidate once, the best first; equal candidates in the order of the pool.

        Raises:
            UserError: the pool does not do.
        """
