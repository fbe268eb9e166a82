"""The result files of a folder, as far as a report needs them; what cannot be used is named and counted."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import yaml

from prune.cell.folder import SCHEMA
from prune.cell.standing import read_submission, stand_unfinished
from prune.cell.state import State
from prune.errors import UserError, nearest
from prune.eval.metric import ItemColumn
from prune.files import CHECKSUM, checksum, parse_json
from prune.report.model import Unfinished
from prune.report.results.shape import NUMBER, OPTIONAL_NUMBER, OPTIONAL_TEXT, TEXT, take, take_each

READABLE_SCHEMAS = (SCHEMA,)
"""Versions of result.json that mean what this code takes them to mean."""

NUMERIC_KNOBS = ("sparsity.ratio", "calib.num_samples", "calib.seq_len")

_AGAIN = "Run its cell again: remove that file and run the line again"

Knobs = Mapping[str, Any]
"""A canonical configuration, flat: `calib.num_samples` -> 128; and `data.source`, where the rows came from."""

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
    unit: str
    scale: str
    items: ItemColumn | None

    @property
    def is_log(self) -> bool:
        """Whether it is compared by its logarithm, as the exponential of a mean."""
        return self.scale == "log"

    @property
    def compared(self) -> float:
        """The number that is averaged and compared: the value, or its logarithm."""
        return math.log(self.value) if self.is_log else self.value


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
    damaged: list[str] = field(default_factory=list)
    """Files that are damaged, of which the rest is reported; what is wrong with each."""


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
    damaged: list[str] = []
    grids = _read_grids(outputs / "sweeps", sweep, damaged)
    found = Found(sweeps=list(grids), damaged=damaged)
    wanted = _wanted_cells(outputs, grids, everything=sweep is None)
    for cell_id, (name, sweep_name) in wanted.items():
        _take_cell(found, outputs / "cells" / cell_id, name, sweep_name)
    found.unfinished += _not_applicable(grids)
    found.results.sort(key=lambda result: not result.is_dense)
    if model is not None:
        _keep_model(found, model)
    if not found.results:
        raise UserError(" ".join([_nothing_usable(outputs, found.unfinished), *(f"{one}." for one in damaged)]))
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


def _read_grids(folder: Path, only: str | None, damaged: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Sweep -> the rows of its grid.jsonl, the oldest sweep first."""
    paths = sorted(folder.glob("*/grid.jsonl"), key=lambda path: (path.stat().st_mtime, path.parent.name))
    names = [path.parent.name for path in paths]
    if only is not None and only not in names:
        allowed = f"{nearest(only, names)}Allowed: {', '.join(names)}." if names else "There is none."
        raise UserError(f"{folder.parent} has no sweep {only}. {allowed}")
    return {path.parent.name: _read_grid(path, damaged) for path in paths if only in (None, path.parent.name)}


def _read_grid(path: Path, damaged: list[str]) -> list[dict[str, Any]]:
    """The rows of a grid.jsonl; what cannot be used is added to `damaged`."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        damaged.append(f"{path} is damaged ({error})")
        return []
    rows, problems = [], []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_grid_row(parse_json(line)))
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    if problems:
        left_out = f"{len(problems)} of its {len(lines)} lines left out"
        damaged.append(f"{path} is damaged ({left_out}; {problems[0]}). Run the sweep's line again: it writes the file anew")
    return rows


def _grid_row(row: Any) -> dict[str, Any]:
    take(row, "name", TEXT).encode()
    take(row, "not_applicable", OPTIONAL_TEXT)
    if take(row, "cell", OPTIONAL_TEXT) is not None:
        for key in ("cell", "dense_cell"):
            if not re.fullmatch(r"[\w.-]+", take(row, key, TEXT)):
                raise ValueError(f"{key} is no name of a folder")
    found: dict[str, Any] = row
    return found


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
    try:
        plain = _read_object(path)
        schema = plain["schema"]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise _UnreadableError("corrupt", f"{path} is damaged ({error})") from None
    if schema not in READABLE_SCHEMAS:
        readable = ", ".join(str(version) for version in READABLE_SCHEMAS)
        raise _UnreadableError(
            "schema", f"{path} has schema {schema}; this version of prune reads {readable}. Run its cell again with it."
        )
    if CHECKSUM in plain and plain[CHECKSUM] != checksum(plain):
        raise _UnreadableError(
            "corrupt", f"{path} was changed after it was written: its {CHECKSUM} is that of other contents. {_AGAIN}"
        )
    try:
        return _make_result(folder, plain)
    except (KeyError, TypeError, AttributeError, ValueError, OSError, RecursionError) as error:
        raise _UnreadableError("corrupt", f"{path} is damaged ({error})") from None


def _read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file, whose texts are all Unicode proper.

    Raises:
        FileNotFoundError: there is no such file.
        OSError, ValueError: it cannot be read, or is no such object.
    """
    data = path.read_bytes()
    plain = parse_json(data)
    if not isinstance(plain, dict):
        raise ValueError("not a JSON object")
    if b"\\u" in data:
        json.dumps(plain, ensure_ascii=False).encode()  # UnicodeEncodeError for half a pair
    return plain


def _make_result(folder: Path, plain: Mapping[str, Any]) -> Result:
    if take(plain, "cell", TEXT) != folder.name:
        raise ValueError(f"it is the result of cell {plain['cell']}")
    memory, source = take(plain, "peak_memory_mb", (dict,)), take(take(plain, "data", (dict,)), "source", TEXT)
    return Result(
        id=plain["cell"],
        name=take(plain, "name", TEXT),
        folder=folder,
        axes=_axes(take(plain, "axes", (dict,))),
        dense_cell=take(plain, "dense_cell", TEXT),
        scores={name: _make_score(entry) for name, entry in take_each(plain, "metrics", (dict,)).items()},
        knobs=_checked_knobs({**read_knobs(folder / "config.yaml"), "data.source": source}),
        sparsity_reached=take(take(plain, "sparsity", (dict,)), "reached", NUMBER),
        seconds=take_each(plain, "seconds", OPTIONAL_NUMBER),
        memory_mb={key: take(memory, key, OPTIONAL_NUMBER) for key in ("host", "device") if key in memory},
        provenance=_provenance(take(plain, "provenance", (dict,))),
        source=source,
        overlap={name: counts for name, counts in take_each(plain, "overlap", (dict,)).items() if _is_shared(counts)},
        warnings=_texts(take(plain, "warnings", (list,))),
    )


def _axes(axes: Mapping[str, Any]) -> Mapping[str, Any]:
    for axis in ("model", "method"):
        take(axes, axis, TEXT)
    for axis in ("calib", "prompt", "sparsity"):
        take(axes, axis, OPTIONAL_TEXT)
    take(axes, "seed", (int, type(None)))
    return axes


def _checked_knobs(knobs: Knobs) -> Knobs:
    """The knobs, those that curves run along as numbers."""
    for key in NUMERIC_KNOBS:
        if key in knobs:
            take(knobs, key, NUMBER)
    return knobs


def _provenance(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in ("git", "device", "host"):
        if key in provenance:
            take(provenance, key, OPTIONAL_TEXT)
    if "versions" in provenance:
        take_each(provenance, "versions", OPTIONAL_TEXT)
    return provenance


def _texts(values: Sequence[Any]) -> Sequence[str]:
    if not all(isinstance(value, str) for value in values):
        raise ValueError("warnings are not all text")
    return values


def _make_score(entry: Mapping[str, Any]) -> Score:
    score = Score(
        value=float(take(entry, "value", NUMBER)),
        stderr=take(entry, "stderr", OPTIONAL_NUMBER),
        num_items=take(entry, "num_items", (int,)),
        higher_is_better=take(entry, "higher_is_better", (bool,)),
        chance=take(entry, "chance", OPTIONAL_NUMBER),
        protocol=take(entry, "protocol", (dict,)),
        unit=take(entry, "unit", TEXT),
        scale=take(entry, "scale", TEXT),
        items=_item_column(take(entry, "items", (dict, type(None)))),
    )
    if score.scale not in ("linear", "log"):
        raise ValueError(f"scale is {score.scale}, not linear or log")
    if not math.isfinite(score.value) or (score.is_log and score.value <= 0):
        raise ValueError(f"value is {score.value}")
    return score


def _item_column(entry: Mapping[str, Any] | None) -> ItemColumn | None:
    if entry is None:
        return None
    weight_keys = take(entry, "weight_keys", (list, type(None)))
    return ItemColumn(metric=take(entry, "metric", TEXT), keys=take(entry, "keys", (list,)), weight_keys=weight_keys)


def _is_shared(counts: Mapping[str, int]) -> bool:
    take(counts, "num_items", (int,))
    return any(int(take(counts, key, (int,))) > 0 for key in ("num_shared_rows", "num_shared_ngrams"))


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
    except UnicodeDecodeError as error:
        raise ValueError(f"config.yaml: {error}") from None
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
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        return say(state="corrupt", reason=f"{_damaged_state(folder)} is damaged ({type(error).__name__}: {error})")
    if standing.failure is not None:
        return say(state="failed", reason=standing.failure.reason)
    if standing.state is State.running:
        where = f" on {standing.holder.host}" if standing.holder else ""
        return say(state="running", reason=f"it is being worked on{where}")
    return say(state="todo", reason="it has not been run yet")


def _damaged_state(folder: Path) -> Path:
    """Which of the two files that tell of a cell's state is damaged."""
    try:
        read_submission(folder)
    except (OSError, TypeError, ValueError):
        return folder / "job.json"
    return folder / "status.json"


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
