"""The result files of a folder, as far as a report needs them; what cannot be used is named and counted."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import yaml

from prune.cell.results import SCHEMA
from prune.cell.state import State, stand_unfinished
from prune.errors import UserError, nearest
from prune.files import parse_json
from prune.report.model import Unfinished

READABLE_SCHEMAS = (SCHEMA,)
"""Versions of result.json that mean what this code takes them to mean."""

Knobs = Mapping[str, Any]
"""A canonical configuration, flat: `calib.num_samples` -> 128."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of one cell."""

    value: float
    stderr: float | None
    num_items: int
    higher_is_better: bool
    chance: float | None
    protocol: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """One finished cell."""

    id: str
    name: str
    folder: Path
    axes: Mapping[str, Any]
    dense_cell: str
    scores: Mapping[str, Score]
    knobs: Knobs
    sparsity_reached: float
    seconds: Mapping[str, float]
    memory_mb: Mapping[str, float]
    provenance: Mapping[str, Any]
    source: str
    """Where the rows came from: sample, hub or local."""
    overlap: Mapping[str, Mapping[str, int]]
    """Metric -> counts, where items are shared with the calibration set."""
    warnings: Sequence[str]

    @property
    def is_dense(self) -> bool:
        """Whether this is the unpruned model."""
        return self.id == self.dense_cell


@dataclass(slots=True)
class Found:
    """What a folder of cells holds."""

    results: list[Result] = field(default_factory=list)
    """Dense cells first, then in the order of the sweeps."""
    unfinished: list[Unfinished] = field(default_factory=list)
    sweeps: list[str] = field(default_factory=list)
    """The sweeps that name the cells."""


class _UnreadableError(Exception):
    """A result that cannot be used; `state` as in `Unfinished`."""

    def __init__(self, state: str, reason: str) -> None:
        self.state = state
        super().__init__(reason)


def read_results(
    outputs: Path, sweep: str | None = None, model: str | None = None, metrics: Sequence[str] | None = None
) -> Found:
    """All results under `outputs`/cells, or those of one sweep, one model and some metrics, and what is missing.

    Raises:
        UserError: no such folder, sweep, model or metric, or no result in it that can be used.
    """
    if not (outputs / "cells").is_dir():
        raise UserError(f"{outputs} holds no cells. Name the output_dir of a sweep: python -m prune.report FOLDER.")
    grids = _read_grids(outputs / "sweeps", sweep)
    found = Found(sweeps=list(grids))
    wanted = _wanted_cells(outputs, grids, everything=sweep is None)
    for cell_id, (name, sweep_name) in wanted.items():
        _take_cell(found, outputs / "cells" / cell_id, name, sweep_name)
    found.unfinished += _not_applicable(grids)
    found.results.sort(key=lambda result: not result.is_dense)
    if model is not None:
        _keep_model(found, model)
    if not found.results:
        raise UserError(_nothing_usable(outputs, found.unfinished))
    if metrics is not None:
        found.results = [_with_metrics(result, metrics) for result in _checked_metrics(found.results, metrics)]
    return found


def _checked_metrics(results: Sequence[Result], metrics: Sequence[str]) -> Sequence[Result]:
    known = list(dict.fromkeys(name for result in results for name in result.scores))
    for metric in metrics:
        if metric not in known:
            raise UserError(f"No result has the metric {metric}. {nearest(metric, known)}Metrics: {', '.join(known)}.")
    return results


def _with_metrics(result: Result, metrics: Sequence[str]) -> Result:
    scores = {name: score for name, score in result.scores.items() if name in metrics}
    overlap = {name: counts for name, counts in result.overlap.items() if name in metrics}
    return replace(result, scores=scores, overlap=overlap)


def _read_grids(folder: Path, only: str | None) -> dict[str, list[dict[str, Any]]]:
    """Sweep -> the rows of its grid.jsonl, the oldest sweep first."""
    paths = sorted(folder.glob("*/grid.jsonl"), key=lambda path: (path.stat().st_mtime, path.parent.name))
    names = [path.parent.name for path in paths]
    if only is not None and only not in names:
        allowed = f"{nearest(only, names)}Allowed: {', '.join(names)}." if names else "There is none."
        raise UserError(f"{folder.parent} has no sweep {only}. {allowed}")
    return {path.parent.name: _read_grid(path) for path in paths if only in (None, path.parent.name)}


def _read_grid(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}). Remove it, or run the sweep's line again.") from None


def _wanted_cells(
    outputs: Path, grids: Mapping[str, Sequence[Mapping[str, Any]]], everything: bool
) -> dict[str, tuple[str, str]]:
    """Cell id -> (name, a sweep that asks for it); with `everything` also the cells that no sweep names."""
    wanted: dict[str, tuple[str, str]] = {}
    for sweep, rows in grids.items():
        for row in rows:
            if row["cell"] is not None:
                wanted.setdefault(row["dense_cell"], (f"{row['name'].partition('/')[0]}/dense", sweep))
                wanted.setdefault(row["cell"], (row["name"], sweep))
    if everything:
        for path in sorted((outputs / "cells").iterdir()):
            if path.is_dir():
                wanted.setdefault(path.name, ("", ""))
    return wanted


def _take_cell(found: Found, folder: Path, name: str, sweep: str) -> None:
    """Add the cell in `folder` to the results, or to what is unfinished."""
    try:
        found.results.append(_read_result(folder))
    except FileNotFoundError:
        found.unfinished.append(_unfinished(folder, name, sweep))
    except _UnreadableError as error:
        found.unfinished.append(Unfinished(id=folder.name, name=name, state=error.state, reason=str(error), sweep=sweep))


def _read_result(folder: Path) -> Result:
    path = folder / "result.json"
    data = path.read_bytes()
    try:
        plain = parse_json(data)
        schema = plain["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise _UnreadableError("corrupt", f"{path} is damaged ({error})") from None
    if schema not in READABLE_SCHEMAS:
        readable = ", ".join(str(version) for version in READABLE_SCHEMAS)
        raise _UnreadableError(
            "schema", f"{path} has schema {schema}; this version of prune reads {readable}. Run its cell again with it."
        )
    try:
        return _make_result(folder, plain)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _UnreadableError("corrupt", f"{path} is damaged ({type(error).__name__}: {error})") from None


def _make_result(folder: Path, plain: Mapping[str, Any]) -> Result:
    return Result(
        id=plain["cell"],
        name=plain["name"],
        folder=folder,
        axes=plain["axes"],
        dense_cell=plain["dense_cell"],
        scores={name: _make_score(entry) for name, entry in plain["metrics"].items()},
        knobs=read_knobs(folder / "config.yaml"),
        sparsity_reached=plain["sparsity"]["reached"],
        seconds=plain["seconds"],
        memory_mb=plain["peak_memory_mb"],
        provenance=plain["provenance"],
        source=plain.get("data", {}).get("source", ""),
        overlap={name: counts for name, counts in plain.get("overlap", {}).items() if _is_shared(counts)},
        warnings=plain.get("warnings", []),
    )


def _make_score(entry: Mapping[str, Any]) -> Score:
    return Score(
        value=float(entry["value"]),
        stderr=entry["stderr"],
        num_items=entry["num_items"],
        higher_is_better=entry["higher_is_better"],
        chance=entry["chance"],
        protocol=entry["protocol"],
    )


def _is_shared(counts: Mapping[str, int]) -> bool:
    return counts["num_shared_rows"] > 0 or counts["num_shared_ngrams"] > 0


def read_knobs(path: Path) -> Knobs:
    """The canonical configuration in a cell's config.yaml, flat: `method.damping` -> 0.01.

    The sections of 10,000 cells are mostly the same few texts: each is parsed once.

    Raises:
        ValueError: the file is missing or no canonical configuration.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise ValueError("config.yaml is missing") from None
    head, _, rest = text.partition("canonical:\n")
    if head or not rest:
        raise ValueError("config.yaml does not begin with `canonical:`")
    sections = re.split(r"^(?=  \S)", rest.partition("\nasked:")[0] + "\n", flags=re.MULTILINE)
    return {key: value for section in sections if section for key, value in _parse_section(section)}


@lru_cache(maxsize=65536)
def _parse_section(text: str) -> tuple[tuple[str, Any], ...]:
    try:
        plain = yaml.load(text, _LOADER)
    except yaml.YAMLError as error:
        raise ValueError(f"config.yaml: {error}") from None
    return tuple(_flat("", plain))


def _flat(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield prefix, value
        return
    for key, entry in value.items():
        yield from _flat(f"{prefix}.{key}" if prefix else str(key), entry)


def _unfinished(folder: Path, name: str, sweep: str) -> Unfinished:
    """A cell without result.json, as its status and claim tell of it."""
    say = partial(Unfinished, id=folder.name, name=name, sweep=sweep)
    try:
        standing = stand_unfinished(folder, {})
    except UserError as error:
        return say(state="corrupt", reason=str(error))
    if standing.failure is not None:
        return say(state="failed", reason=standing.failure.reason)
    if standing.state is State.running:
        where = f" on {standing.holder.host}" if standing.holder else ""
        return say(state="running", reason=f"it is being worked on{where}")
    return say(state="todo", reason="it has not been run yet")


def _not_applicable(grids: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Unfinished]:
    """The points of the grids that mean nothing, each once."""
    rows = {
        row["name"]: Unfinished(id="", name=row["name"], state="not applicable", reason=row["not_applicable"], sweep=sweep)
        for sweep, points in grids.items()
        for row in points
        if row["not_applicable"] is not None
    }
    return list(rows.values())


def _keep_model(found: Found, model: str) -> None:
    models = list(dict.fromkeys(result.axes["model"] for result in found.results))
    if model not in models:
        raise UserError(
            f"There is no result of model {model}. {nearest(model, models)}Models: {', '.join(models) or 'none'}."
        )
    found.results = [result for result in found.results if result.axes["model"] == model]
    found.unfinished = [cell for cell in found.unfinished if cell.name.partition("/")[0] in (model, "")]


def _nothing_usable(outputs: Path, unfinished: Sequence[Unfinished]) -> str:
    """What to say when there is nothing to report on."""
    cells = [cell for cell in unfinished if cell.state != "not applicable"]
    if not cells:
        return f"{outputs}/cells holds no results yet. Run a sweep with output_dir={outputs} first."
    shown = "".join(f"\n  {cell.name or cell.id} {cell.state}: {cell.reason}" for cell in cells[:5])
    more = f"\n  and {len(cells) - 5} more" if len(cells) > 5 else ""
    return f"{outputs}/cells holds no result that can be reported; {len(cells)} cells have none:{shown}{more}"
