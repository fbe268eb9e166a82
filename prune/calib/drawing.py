"""Rows in a drawn order, or in that of a selector, packed into sequences; what a row becomes is its kind's business."""

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any, Generic, TypeVar

from prune.calib.draw import EARLIER_ROWS, Packed
from prune.calib.material import Material
from prune.calib.registry import choose, is_random
from prune.calib.selection import Candidate, Pool
from prune.config.calib import CalibConfig
from prune.config.select import SelectConfig
from prune.errors import UserError

Piece = TypeVar("Piece", bound=Sized)
"""What a row becomes before it is packed: a text, turns, tokens."""


@dataclass(frozen=True, kw_only=True)
class Drawing(Generic[Piece]):
    """The rows of one calibration set, and how they are packed."""

    calib: CalibConfig
    select: SelectConfig
    eligible: Sequence[int]
    """The row ids that may be drawn."""
    comes_again: bool
    """Whether rows are drawn again once all are used."""
    pieces: Callable[[bool], Iterator[tuple[int, Piece]]]
    """(row id, piece) of the rows in the draw's order, once, or where it is asked with True again and again."""
    pack: Callable[[Iterator[tuple[int, Piece]], int], list[Packed]]
    """Packs pieces into this many sequences; fewer when the pieces run out."""
    candidates: Callable[[Sequence[Piece]], Sequence[Candidate]]
    """The pieces as a selector sees them."""
    too_few: Callable[[Sequence[Packed], Sequence[int]], str]
    """What is said of the sequences of this draw that too few rows (given by id) have filled."""

    def draw(self, material: Material) -> tuple[list[Packed], dict[str, Any]]:
        """(the sequences, counts for the manifest and what a selector says of its choice).

        Raises:
            UserError: there are too few rows.
        """
        return self._first() if is_random(self.select) else self._selected(material)

    def _first(self) -> tuple[list[Packed], dict[str, Any]]:
        """(the sequences of the draw's shuffle, for a later draw how many of its rows earlier ones had, too)."""
        earlier, packed = self._drawn()
        again = set(row_ids(earlier)) & set(row_ids(packed))
        return packed, {EARLIER_ROWS: len(again)} if earlier else {}

    def _drawn(self) -> tuple[list[Packed], list[Packed]]:
        """(the sequences of the earlier draws of the shuffle, those of this one)."""
        start = self.calib.draw * self.calib.num_samples
        packed = self.pack(self.pieces(self.comes_again), start + self.calib.num_samples)
        self._check_filled(packed, start + self.calib.num_samples, self.eligible)
        return packed[:start], packed[start:]

    def _selected(self, material: Material) -> tuple[list[Packed], dict[str, Any]]:
        """(the sequences packed in the selector's order, each row with the reason; what it chose from).

        The pool of a draw is its part of one pass through the rows, `select.pool` times that which the draw itself would
        use; where it does not fill the set, and rows may come again, it is gone through again in the same order.
        """
        calib = self.calib
        earlier, own = self._drawn()
        places = range(0, len(earlier), calib.num_samples)
        of_earlier = [len(set(row_ids(earlier[place : place + calib.num_samples]))) for place in places]
        num_needed, start = len(set(row_ids(own))), self.select.pool * sum(of_earlier)
        pieces = list(islice(self.pieces(False), start, start + self.select.pool * num_needed))
        if not pieces:
            raise UserError(self._no_pool(start))
        candidates = self.candidates([piece for _, piece in pieces])
        choice = choose(self.select, Pool(candidates, num_needed, calib.seed, material))
        order = [pieces[pick.index] for pick in choice.picks]
        packed = self.pack(cycle(order) if self.comes_again else iter(order), calib.num_samples)
        self._check_filled(packed, calib.num_samples, [row for row, _ in pieces])
        why = {pieces[pick.index][0]: pick.why for pick in choice.picks}
        taken = set(row_ids(packed))
        said = choice.describe({index for index, (row, _) in enumerate(pieces) if row in taken})
        return [replace(one, why=tuple(why[row] for row in one.rows)) for one in packed], said

    def _no_pool(self, start: int) -> str:
        calib, pool = self.calib, self.select.pool
        return (
            f"calib={calib.name} calib.draw={calib.draw} select={self.select.name}: with select.pool={pool} the pools of "
            f"earlier draws take {start} rows, and there are {len(self.eligible)} usable ones. Lower select.pool, "
            "calib.draw or calib.num_samples, or take other seeds (calib.seed) in place of draws."
        )

    def _check_filled(self, packed: Sequence[Packed], num_samples: int, eligible: Sequence[int]) -> None:
        longest = max((len(sequence.rows) for sequence in packed), default=0)
        if len(packed) < num_samples or longest > len(eligible):
            raise UserError(self.too_few(packed[num_samples - self.calib.num_samples :], eligible))


def row_ids(packed: Sequence[Packed]) -> list[int]:
    """The rows of the sequences in order, those that come again too."""
    return [row for sequence in packed for row in sequence.rows]
