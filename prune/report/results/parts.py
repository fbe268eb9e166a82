"""Several folders or sweeps side by side in one report: the results of each, and all together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prune.report.results.read import Found, read_results


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of outputs, and one of its sweeps (None: all)."""

    outputs: Path
    sweep: str | None = None

    @property
    def name(self) -> str:
        """Its name on the page: the sweep, else the folder."""
        return self.sweep or self.outputs.resolve().name


@dataclass(frozen=True, slots=True)
class Part:
    """The results of one place."""

    name: str
    found: Found


def read_parts(places: Sequence[Place], model: str | None, metrics: Sequence[str] | None) -> list[Part]:
    """The results of the places, each under a name of its own.

    Raises:
        UserError: as `read_results`, for any of them.
    """
    names = [place.name for place in places]
    shown = [name if names.count(name) == 1 else str(place.outputs) for name, place in zip(names, places, strict=True)]
    return [
        Part(name, read_results(place.outputs, place.sweep, model, metrics))
        for name, place in zip(shown, places, strict=True)
    ]


def together(parts: Sequence[Part]) -> Found:
    """All parts as one, dense cells first; a cell of several parts counts once."""
    if len(parts) == 1:
        return parts[0].found
    results = {result.id: result for part in reversed(parts) for result in part.found.results}
    first = [result.id for part in parts for result in part.found.results]
    ordered = [results[cell] for cell in dict.fromkeys(first)]
    unfinished = {(cell.id, cell.name): cell for part in parts for cell in part.found.unfinished if cell.id not in results}
    return Found(
        results=sorted(ordered, key=lambda result: not result.is_dense),
        unfinished=list(unfinished.values()),
        sweeps=list(dict.fromkeys(sweep for part in parts for sweep in part.found.sweeps)),
        damaged=list(dict.fromkeys(problem for part in parts for problem in part.found.damaged)),
        repeated=list(dict.fromkeys(name for part in parts for name in part.found.repeated)),
    )
