"""Which blocks of a model to drop, by the loss of the model without them. Pure: the loss comes as a function.

`greedy` is SLEB's (arXiv 2402.09025; jiwonsong-dev/SLEB): run beside that code, it takes the same steps. `evolution` is
EvoP's genetic algorithm (arXiv 2502.14910; luffy06/EvoP, on scikit-opt): tournaments, crossover at two points, mutation,
repair to the asked number. Its random numbers are our own, so its generations are not theirs, bit for bit; the best of all
generations is kept in both. There each set of blocks is measured again whenever it comes up, here once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from prune.config.drop import BlocksConfig, Search
from prune.errors import UserError

Blocks: TypeAlias = frozenset[int]

Measure: TypeAlias = Callable[[Sequence[Blocks], Blocks], Mapping[Blocks, float]]
"""(sets of blocks, blocks that all of them have) -> the loss without each set; infinite where it overflows."""


@dataclass(frozen=True, slots=True)
class Found:
    """The blocks to drop."""

    blocks: tuple[int, ...]
    """In the order in which they were chosen by the greedy search, else ascending."""
    loss: float
    """The loss without them, in nats per token."""
    losses: tuple[float, ...] = ()
    """greedy: after each step. evolution: the lowest, each time that it fell."""


@dataclass
class Memory:
    """Measures each set of blocks once, and never those that the model cannot lose: their loss counts as infinite."""

    measure: Measure
    is_possible: Callable[[Blocks], bool] = lambda blocks: True
    known: dict[Blocks, float] = field(default_factory=dict)

    def __call__(self, asked: Sequence[Blocks], common: Blocks = frozenset()) -> list[float]:
        """The losses of sets of blocks, of which all have the `common` blocks."""
        unknown = [blocks for blocks in dict.fromkeys(asked) if blocks not in self.known]
        possible = [blocks for blocks in unknown if self.is_possible(blocks)]
        self.known |= dict.fromkeys(unknown, math.inf) | dict(self.measure(possible, common) if possible else {})
        return [self.known[blocks] for blocks in asked]


def search_blocks(num_blocks: int, config: BlocksConfig, losses: Memory, seed: int) -> Found:
    """The blocks of a model to drop.

    Raises:
        UserError: there are not that many to choose from, or no set of them gives a finite loss.
    """
    allowed = allowed_blocks(num_blocks, config)
    num = config.num_dropped(num_blocks)
    if config.search is Search.greedy:
        return greedy(allowed, num, losses)
    rng = np.random.default_rng(seed)
    return evolution(allowed, num, losses, config, rng)


def allowed_blocks(num_blocks: int, config: BlocksConfig) -> list[int]:
    """The blocks that may be dropped.

    Raises:
        UserError: they are fewer than the asked number, or all of the model's.
    """
    first, last = config.kept_ends
    allowed = list(range(first, num_blocks - last))
    num = config.num_dropped(num_blocks)
    if num > len(allowed) or num >= num_blocks:
        most = min(len(allowed), num_blocks - 1)
        way = f"Give sparsity.num={most} or less" if most > 0 else "Give a model with more blocks"
        raise UserError(
            f"sparsity=blocks with {config.asked} would drop {num} of the model's {num_blocks} blocks, and with "
            f"sparsity.keep_first={first} sparsity.keep_last={last} at "
            f"most {max(most, 0)} can go. {way}."
        )
    return allowed


def greedy(allowed: Sequence[int], num: int, losses: Memory) -> Found:
    """Drop the block whose absence gives the lowest loss, again and again; of equal ones the first."""
    dropped: tuple[int, ...] = ()
    lowest: list[float] = []
    for _ in range(num):
        tried = [block for block in allowed if block not in dropped]
        found = losses([frozenset({*dropped, block}) for block in tried], frozenset(dropped))
        best = min(range(len(tried)), key=found.__getitem__)
        _check_finite(found[best])
        dropped, lowest = (*dropped, tried[best]), [*lowest, found[best]]
    return Found(dropped, lowest[-1], tuple(lowest))


def evolution(allowed: Sequence[int], num: int, losses: Memory, config: BlocksConfig, rng: np.random.Generator) -> Found:
    """The best set of all generations.

    P sets in a generation, B allowed blocks; `sets_PB` says which blocks each set drops.
    """
    sets_PB = repaired(rng.integers(0, 2, (config.population, len(allowed)), dtype=bool), num, rng)
    best, lowest = frozenset[int](), math.inf
    history: list[float] = []
    for _ in range(config.generations):
        named = [frozenset(allowed[place] for place in np.flatnonzero(set_B).tolist()) for set_B in sets_PB]
        found_P = np.array(losses(named))
        if found_P.min() < lowest:
            best, lowest = named[int(found_P.argmin())], float(found_P.min())
            history.append(lowest)
        parents_PB = sets_PB[_tournament_winners(found_P, config.tournament, rng)]
        sets_PB = repaired(_mutated(_crossed(parents_PB, rng), config.mutation, rng), num, rng)
    _check_finite(lowest)
    return Found(tuple(sorted(best)), lowest, tuple(history))


def repaired(sets_PB: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
    """The sets with exactly `num` blocks each: blocks drawn at random change sides where there are more or fewer."""
    sets_PB = sets_PB.copy()
    for set_B in sets_PB:
        surplus = int(set_B.sum()) - num
        set_B[rng.permutation(np.flatnonzero(set_B == (surplus > 0)))[: abs(surplus)]] = surplus < 0
    return sets_PB


def _tournament_winners(found_P: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """As many winners as there are sets: of `size` drawn with repetition the one with the lowest loss."""
    drawn_PS = rng.integers(0, len(found_P), (len(found_P), size))
    winners_P: np.ndarray = drawn_PS[np.arange(len(found_P)), found_P[drawn_PS].argmin(axis=1)]
    return winners_P


def _crossed(sets_PB: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each two neighbours with the blocks between two random points exchanged."""
    crossed_PB = sets_PB.copy()
    for one in range(0, len(sets_PB) - 1, 2):
        start, stop = sorted(rng.integers(0, sets_PB.shape[1], 2))
        crossed_PB[[one, one + 1], start:stop] = sets_PB[[one + 1, one], start:stop]
    return crossed_PB


def _mutated(sets_PB: np.ndarray, chance: float, rng: np.random.Generator) -> np.ndarray:
    """The sets after each block has changed sides with this chance."""
    return sets_PB ^ (rng.random(sets_PB.shape) < chance)


def _check_finite(loss: float) -> None:
    if not math.isfinite(loss):
        raise UserError(
            "sparsity=blocks: whichever blocks of that number are dropped, the rest is not a model that its configuration "
            "can describe with a finite loss on the calibration set. Ask for fewer (sparsity.num=1), keep other ends "
            "(sparsity.keep_first, sparsity.keep_last), or load the model in a wider type (model.dtype=float32)."
        )
