"""The sparsity axis, whole parts: which blocks or experts of a model go, and what chooses them."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from prune.config.checks import reject, require_at_least
from prune.config.sparsity import SparsityConfig


class Search(str, Enum):
    """How the blocks to drop are found by the loss on the calibration set."""

    greedy = "greedy"
    evolution = "evolution"


@dataclass(kw_only=True, slots=True)
class DropConfig(SparsityConfig):
    """Drops whole parts of the model and leaves the others as they are; each kind of part has a subclass.

    No method of the method axis is used: what chooses the parts stands in its place, as in tiny/c4/greedy/10%-blocks.
    """

    ratio: float = 0.5
    """Share of the parts to drop; the number is rounded up."""
    num: int | None = None
    """Number of parts to drop; where it is given, `ratio` does not count."""

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            reject("sparsity.ratio", self.ratio, "it must lie between 0 and 1, both excluded (method=dense removes nothing)")
        require_at_least("sparsity.num", self.num, 1)

    def num_dropped(self, num_parts: int) -> int:
        """How many of `num_parts` parts are dropped."""
        if self.num is not None:
            return self.num
        exact = self.ratio * num_parts
        return int(exact) + (exact - int(exact) > 1e-9)

    @property
    def amount(self) -> str:
        """`10%`, or the number of the parts."""
        return f"{100 * self.ratio:g}%" if self.num is None else str(self.num)

    @property
    def asked(self) -> str:
        """As on a line: `sparsity.ratio=0.1` or `sparsity.num=3`."""
        return f"sparsity.ratio={self.ratio:g}" if self.num is None else f"sparsity.num={self.num}"

    @property
    def chooser(self) -> str:
        """What stands on the method axis."""
        raise NotImplementedError

    @property
    def parts(self) -> str:
        """What goes."""
        raise NotImplementedError

    @property
    def needs_inputs(self) -> bool:
        """Whether a calibration set chooses."""
        return True

    @property
    def draws(self) -> bool:
        """Whether calib.seed draws what is tried."""
        return False

    def identity(self) -> dict[str, Any]:
        """Plain values of all that can change what goes."""
        return {"num": self.num} if self.num is not None else {"ratio": self.ratio}


@dataclass(kw_only=True, slots=True)
class BlocksConfig(DropConfig):
    """Drops whole decoder blocks: those without which the loss on the calibration set is lowest."""

    name: str = "blocks"
    ratio: float = 0.1
    search: Search = Search.greedy
    """greedy: the block whose absence hurts least, again and again, as in SLEB (arXiv 2402.09025). evolution: a genetic
    search over sets of blocks, as in EvoP (arXiv 2502.14910)."""
    keep_first: int | None = None
    """This many blocks at the beginning are never dropped. null: as published, 1 for greedy and 0 for evolution."""
    keep_last: int | None = None
    """This many blocks at the end are never dropped; null as above."""
    population: int = 50
    """evolution: sets of blocks in a generation."""
    generations: int = 100
    """evolution: number of generations."""
    mutation: float = 0.001
    """evolution: the chance that a block enters or leaves a new set, which is then repaired to the asked number."""
    tournament: int = 3
    """evolution: sets drawn at random for a tournament; the best of them has offspring."""

    def __post_init__(self) -> None:
        DropConfig.__post_init__(self)
        for key, least in (("keep_first", 0), ("keep_last", 0), ("population", 2), ("generations", 1), ("tournament", 1)):
            require_at_least(f"sparsity.{key}", getattr(self, key), least)
        if not 0 <= self.mutation <= 1:
            reject("sparsity.mutation", self.mutation, "it is a chance, between 0 and 1")

    @property
    def kept_ends(self) -> tuple[int, int]:
        """How many blocks are never dropped at the beginning, and at the end."""
        published = int(self.search is Search.greedy)
        first, last = self.keep_first, self.keep_last
        return (published if first is None else first, published if last is None else last)

    @property
    def chooser(self) -> str:
        """What stands on the method axis."""
        return self.search.value

    @property
    def parts(self) -> str:
        """What goes."""
        return "blocks"

    @property
    def draws(self) -> bool:
        """Whether calib.seed draws what is tried."""
        return self.search is Search.evolution

    def identity(self) -> dict[str, Any]:
        """Plain values of all that can change what goes; the knobs of a search that is not asked for cannot."""
        first, last = self.kept_ends
        form = {**DropConfig.identity(self), "search": self.search.value, "keep_first": first, "keep_last": last}
        knobs = ("population", "generations", "mutation", "tournament") if self.search is Search.evolution else ()
        return form | {key: getattr(self, key) for key in knobs}


class Criterion(str, Enum):
    """What an expert is worth; the lowest are dropped first."""

    usage = "usage"
    norm = "norm"
    reap = "reap"
    entropy = "entropy"
    router = "router"
    exact = "exact"


@dataclass(kw_only=True, slots=True)
class ExpertsConfig(DropConfig):
    """Drops whole experts, the same number in every mixture."""

    name: str = "experts"
    ratio: float = 0.25
    criterion: Criterion = Criterion.reap
    """What an expert is worth. usage: the tokens that it gets. norm: the sum of the norms of its outputs (EAN of
    MC-Suite, arXiv 2504.05586). reap: the mean over its tokens of gate times norm. entropy: the sum over channels of the
    logarithm of its outputs' deviation (EAE). router: the norm of its row of the router (RWN), which needs no calibration
    set. exact: of all sets of experts the one without which the block's outputs change least is dropped (arXiv 2402.14800);
    for few experts only."""
    rounds: int = 1
    """Steps in which experts are dropped, each measured on the model that the step before left."""

    def __post_init__(self) -> None:
        DropConfig.__post_init__(self)
        require_at_least("sparsity.rounds", self.rounds, 1)

    @property
    def chooser(self) -> str:
        """What stands on the method axis."""
        return self.criterion.value

    @property
    def parts(self) -> str:
        """What goes."""
        return "experts"

    @property
    def needs_inputs(self) -> bool:
        """Whether a calibration set chooses."""
        return self.criterion is not Criterion.router

    def identity(self) -> dict[str, Any]:
        """Plain values of all that can change what goes; rounds of a criterion that looks at weights alone cannot."""
        form = {**DropConfig.identity(self), "criterion": self.criterion.value}
        return form | ({"rounds": self.rounds} if self.needs_inputs and self.rounds > 1 else {})
