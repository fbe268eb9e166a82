"""Cells -> rows (the draws of one setting) -> groups (the rows that are compared)."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prune.cell.result import CellResult
from prune.config.calib import PromptStyle
from prune.data.dataset import Category
from prune.data.registry import DATASETS, known_dataset
from prune.report.model import CalibrationSet, Group, Unfinished

CATEGORIES = (*(category.value for category in Category), "other")
"""In the order of the study; `other` is for unknown sets."""

PROMPTS = tuple(style.value for style in PromptStyle)

SIZE_KNOBS = ("calib.num_samples", "calib.seq_len", "calib.compat", "calib.bos")
"""Calibration knobs that belong to the group: sets are compared at one size, with BOS in one place."""
_GROUP_AXES = ("model", "method", "sparsity", "reconstruct")
ROW_AXES = ("calib", "prompt", "select", "weight")
"""Axes in which the rows of a group differ; draws, by seed and number, are joined."""
_DRAWS = ("calib.seed", "calib.draw")
_OF_NOBODY = (
    *("calib.name", "seed", "calib.prompt.name", "model.name", "method.class", "calib.select.class", "weight.class"),
    "reconstruct.class",
    *_DRAWS,
)
"""Knobs that have an axis of their own, or mean nothing."""

_OF_PARTS = "calib.rows_of."
"""Prefix of the knobs that identify the rows of a mixture's parts; labels name its parts and numbers only."""

Identity = tuple[Any, ...]
Categories = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class JoinedRow:
    """The cells of one row, by index into the results."""

    group: int
    calib: str | None
    prompt: str | None
    knobs: str
    cells: Sequence[int]
    missing: Sequence[str]
    select: str | None = None
    weight: str | None = None
    is_reversed: bool = False
    """Whether it has the same samples in reverse order: its difference is rounding."""
    sets: frozenset[str] = frozenset()
    """The sets that it is calibrated on: its own, and the parts of a mixture."""

    @property
    def is_plain(self) -> bool:
        """Whether its samples are drawn at random, in the order of the draw, with equal token weights."""
        return self.select is None and self.weight is None and not self.is_reversed

    @property
    def label(self) -> str:
        """`gsm8k-icl`, `c4`, `c4-zipf-attention`; empty without calibration data."""
        name = "-".join(filter(None, (self.calib, self.prompt, self.select, self.weight)))
        return " ".join(part for part in (name, self.knobs) if part)


@dataclass(frozen=True, slots=True)
class Joined:
    """Rows and groups, with indices into the results."""

    rows: Sequence[JoinedRow]
    groups: Sequence[Group]
    categories: Categories = field(default_factory=dict)
    """Set -> its category."""


def join_cells(results: Sequence[CellResult], unfinished: Sequence[Unfinished]) -> Joined:
    """Rows and groups of the results; groups have their dense row, but no baseline yet.

    Rows of a group are ordered by category, set and prompt; groups as in the results.
    """
    cells_of_row: dict[tuple[Identity, Identity], list[int]] = {}
    for index, result in enumerate(results):
        cells_of_row.setdefault((_group_identity(result), _row_identity(result)), []).append(index)
    categories = categories_of(results)
    rows_of_group: dict[Identity, list[list[int]]] = {}
    for (group, _), cells in cells_of_row.items():
        rows_of_group.setdefault(group, []).append(sorted(cells, key=lambda cell: results[cell].draw or (0, 0)))
    for members in rows_of_group.values():
        members.sort(key=lambda cells: _row_order(results[cells[0]], categories))
    missing = _missing_by_name(results, list(cells_of_row.values()), unfinished)
    rows = _make_rows(results, list(rows_of_group.values()), missing)
    return Joined(rows, _make_groups(results, rows, list(rows_of_group.values())), categories)


def categories_of(results: Sequence[CellResult]) -> Categories:
    """Set -> its category, as the results name them."""
    allowed = frozenset(category.value for category in Category)
    sets = {name: str(entry.get("category")) for result in results for name, entry in result.sets.items()}
    return {name: category for name, category in sets.items() if category in allowed}


def category_of(dataset: str, categories: Categories) -> str:
    """The category of a set: from the results, else from the shipped sets, else `other`."""
    known = known_dataset(dataset)
    return categories.get(dataset) or (known.category.value if known else "other")


def calibration_sets(results: Sequence[CellResult]) -> list[CalibrationSet]:
    """The calibration sets of the results, by category, then in the order of prune.data.registry."""
    names, categories = {result.axes["calib"] for result in results if result.axes["calib"]}, categories_of(results)
    ordered = sorted(names, key=lambda name: _set_order(name, categories))
    return [CalibrationSet(name=name, category=category_of(name, categories)) for name in ordered]


def _set_order(name: str, categories: Categories) -> tuple[int, int, str]:
    known = list(DATASETS)
    return CATEGORIES.index(category_of(name, categories)), known.index(name) if name in known else len(known), name


def _row_order(result: CellResult, categories: Categories) -> tuple[Any, ...]:
    calib = result.axes["calib"]
    prompt = result.axes["prompt"]
    prompt_order = PROMPTS.index(prompt) if prompt in PROMPTS else -1
    plain = (result.axes["select"] or "", result.axes["weight"] or "", "calib.reverse" in result.knobs)
    return (_set_order(calib, categories) if calib else (-1, 0, ""), prompt_order, *plain, repr(_row_identity(result)))


def _group_identity(result: CellResult) -> Identity:
    """Model, source of rows, method, sparsity and size of the calibration sets, without their rows."""
    heads = ("format", "model.", "data.", "method.", "sparsity.", "reconstruct.")
    own = [(key, _hashable(value)) for key, value in result.knobs.items() if key.startswith(heads) or key in SIZE_KNOBS]
    return (result.dense_cell, result.axes["method"], tuple(sorted(own, key=str)))


def _row_identity(result: CellResult) -> Identity:
    """Calibration set, prompt, selector, token weights and their knobs, without the draw."""
    own = [(key, _hashable(value)) for key, value in result.knobs.items() if _is_of_row(key) and key not in _DRAWS]
    return (*(result.axes[axis] for axis in ROW_AXES), tuple(sorted(own, key=str)))


def _is_of_row(key: str) -> bool:
    return not is_of_group(key)


def is_of_group(key: str) -> bool:
    """Whether rows that differ in this knob are in different groups."""
    return not key.startswith(("calib.", "weight.")) or key in SIZE_KNOBS


def _hashable(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def _make_rows(
    results: Sequence[CellResult], members: Sequence[Sequence[Sequence[int]]], missing: Mapping[int, Sequence[str]]
) -> list[JoinedRow]:
    rows = []
    for group, of_group in enumerate(members):
        firsts = [results[cells[0]] for cells in of_group]
        for cells, first, text in zip(of_group, firsts, describe_knobs(firsts, ROW_AXES, _is_of_row), strict=True):
            calib, prompt, select, weight = (first.axes[axis] for axis in ROW_AXES)
            is_reversed = bool(first.knobs.get("calib.reverse"))
            row = JoinedRow(group, calib, prompt, text, tuple(cells), missing.get(cells[0], ()), select, weight, is_reversed)
            rows.append(replace(row, sets=_sets_of(first)))
    return rows


def _sets_of(result: CellResult) -> frozenset[str]:
    parts = (key.split(".")[2] for key in result.knobs if key.startswith("calib.parts."))
    return frozenset({*([result.axes["calib"]] if result.axes["calib"] else ()), *parts})


def _make_groups(
    results: Sequence[CellResult], rows: Sequence[JoinedRow], members: Sequence[Sequence[Sequence[int]]]
) -> list[Group]:
    rows_of: list[list[int]] = [[] for _ in members]
    for index, row in enumerate(rows):
        rows_of[row.group].append(index)
    firsts = [results[of_group[0][0]] for of_group in members]
    dense_rows = {first.id: indices[0] for indices, first in zip(rows_of, firsts, strict=True) if first.is_dense}
    settings = describe_knobs(firsts, _GROUP_AXES, is_of_group)
    return [
        Group(
            model=first.axes["model"],
            method=first.method,
            sparsity=first.axes["sparsity"],
            setting=setting,
            baseline_row=None,
            dense_row=dense_rows.get(first.dense_cell),
            rows=tuple(indices),
        )
        for indices, first, setting in zip(rows_of, firsts, settings, strict=True)
    ]


def describe_knobs(results: Sequence[CellResult], axes: Sequence[str], counts: Callable[[str], bool]) -> list[str]:
    """For each result `key=value` of the knobs, among those that `counts`, in which results with the same `axes` differ."""
    alike: dict[tuple[Any, ...], list[CellResult]] = {}
    for result in results:
        alike.setdefault(tuple(result.axes[axis] for axis in axes), []).append(result)
    keys = {place: _differing_keys(several, counts) for place, several in alike.items()}
    return [
        " ".join(
            "reversed" if key == "calib.reverse" else f"{_shown(key)}={_written(result.knobs[key])}"
            for key in keys[tuple(result.axes[axis] for axis in axes)]
            if key in result.knobs
        )
        for result in results
    ]


def _differing_keys(results: Sequence[CellResult], counts: Callable[[str], bool]) -> list[str]:
    keys = dict.fromkeys(
        key
        for result in results
        for key in result.knobs
        if key not in _OF_NOBODY and not key.startswith(_OF_PARTS) and counts(key)
    )
    return [key for key in keys if len({repr(result.knobs.get(key)) for result in results}) > 1]


def _written(value: Any) -> Any:
    """A value in one line; a text with line breaks as JSON."""
    return value if not isinstance(value, str) or value.isprintable() else json.dumps(value, ensure_ascii=False)


def _shown(key: str) -> str:
    """A knob's name on the command line, where the prompt and the selector have groups of their own."""
    own = key.startswith(("calib.prompt.", "calib.select."))
    return key.removeprefix("calib.") if own else key.replace("data.source", "data")


def _missing_by_name(
    results: Sequence[CellResult], rows: Sequence[Sequence[int]], unfinished: Sequence[Unfinished]
) -> dict[int, tuple[str, ...]]:
    """First cell of a row -> names of its cells without a result, where their name without the draw identifies the row."""
    row_of: dict[str, set[int]] = {}
    for cells in rows:
        first = min(cells, key=lambda cell: results[cell].draw or (0, 0))
        row_of.setdefault(_without_seed(results[first].name), set()).add(first)
    found: dict[int, tuple[str, ...]] = {}
    for cell in unfinished:
        firsts = row_of.get(_without_seed(cell.name), set())
        if len(firsts) == 1 and cell.state != "not applicable":
            first = next(iter(firsts))
            found[first] = (*found.get(first, ()), cell.name)
    return found


def _without_seed(name: str) -> str:
    return re.sub(r"/s\d+(d\d+)?$", "", name)
