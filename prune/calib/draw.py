"""The sequences that a kind of calibration set draws, and the random generator that it draws with."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prune.config.calib import CalibConfig
from prune.data.sources.own import TRAIN, own_sha256


@dataclass(frozen=True, slots=True)
class Packed:
    """The real tokens of one sequence (at most L, BOS included) and where they came from."""

    token_ids: list[int]
    rows: list[int]
    """Row ids in the split, in the order they stand in the text."""
    offset: int | None = None
    """First token of a window in the tokens of its document; None for pairs and controls."""
    num_cut: int = 0
    """Number of pieces that were cut short."""
    document_tokens: int = 0
    """Tokens of the whole document that a window was cut from."""
    why: Sequence[Mapping[str, Any]] = ()
    """Why a selector took them: one entry for each row, or for the window."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What else the manifest says of it."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The sequences of a calibration set."""

    packed: Sequence[Packed]
    num_rows: int | None = None
    """Rows in the split they were drawn from; None for controls."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    """For the manifest: further counts, and what a selector says of its choice."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What else the manifest says: how a model made or chose the text, and on what it computed."""


EARLIER_ROWS = "num_rows_of_earlier_draws"
"""The manifest's count of rows that earlier draws had too, because the set has too few."""


def not_disjoint(manifest: Mapping[str, Any]) -> str | None:
    """What to know of a draw whose rows earlier draws had too; None where it shares none."""
    parts = manifest.get("made_of", [manifest])
    shared = {part["name"]: (part[EARLIER_ROWS], part["num_distinct_rows"]) for part in parts if part.get(EARLIER_ROWS)}
    if not shared:
        return None
    counts = ", ".join(f"{again} of {rows} rows of {name or 'the set'}" for name, (again, rows) in shared.items())
    return (
        f"calib.draw={manifest['draw']} is not disjoint from earlier draws, because there are too few rows: {counts} were "
        "drawn before."
    )


def start_generator(calib: CalibConfig) -> random.Random:
    """The one source of randomness of a calibration set: Mersenne Twister, seeded with the text ``calib/<set>/<seed>``.

    A set of the user's own is called by the hash of its rows there. A text seed goes through SHA-512, so that the draw
    depends on neither the machine nor Python's hash seed.
    """
    name = calib.name if calib.path is None else own_sha256(calib, TRAIN)
    return random.Random(f"calib/{name}/{calib.seed}")


def shuffled(num_rows: int, generator: random.Random) -> list[int]:
    """A permutation of the row ids 0 to num_rows - 1."""
    order = list(range(num_rows))
    generator.shuffle(order)
    return order
