"""The table at the end of a sweep: a row per grid point, its scores, their difference to dense and to the C4 row."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from prune.calib.registry import is_random
from prune.cell.baseline import baseline_cell
from prune.config.config import TableWidth
from prune.config.data import SAMPLE_NOTE
from prune.config.drop import DropConfig
from prune.data.registry import in_its_language
from prune.eval.metric import SPEED, are_comparable
from prune.eval.suites import planned_means
from prune.messages.words import count
from prune.pruning.registry import counts_alike
from prune.sweep.grid import GridPoint, is_of_model
from prune.sweep.output.layout import Entry, lay_out, natural_width
from prune.sweep.recorder import Outcome

MAX_NAMES = 8
"""Points that are named for one reason; the table's rows show all of them as n/a."""
FILE_WIDTH = 160
"""A table that goes to a file may be this wide at least: there a line is not broken."""

_NAMED = ("calib", "prompt", "calib.language")
"""Keys that the first two columns tell: a set's name holds its language."""


Stands = Mapping[tuple[str, str], str]
"""Cell and score -> `better` or `worse` than the C4 row beyond noise."""
COLOURED = "Cyan: better than the c4 row beyond the noise of draws and items, yellow: worse (the page says how)."
COLOURS = {"better": "bold cyan", "worse": "yellow"}


def print_table(console: Console, points: Sequence[GridPoint], outcome: Outcome, stands: Stands | None = None) -> None:
    """Print the table, and what is to be said of sample data, of points without meaning and of cells without result.

    Args:
        stands: what is coloured; None colours nothing.
    """
    metrics = _metric_names(points)
    varied = varied_keys(points)
    console.print(_title(points, varied), markup=False, highlight=False, soft_wrap=True)
    entries = _entries(points, outcome, metrics, varied, stands or {})
    limit = console.width if console.is_terminal else max(console.width, FILE_WIDTH)
    tables, is_turned = lay_out(("calib", "prompt", *varied), metrics, entries, limit)
    for table in tables:
        wide = Console(file=console.file, width=max(natural_width(table), limit), force_terminal=console.is_terminal)
        wide.print(table, crop=False)
    legend = _legend(metrics, is_turned, outcome.results, is_wide=_is_wide(points))
    colours = (
        ["Cyan: better than the c4 row beyond noise, yellow: worse (several draws; the page says how)."] if stands else []
    )
    for line in [*legend, *colours, *closing_lines(points, outcome)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _is_wide(points: Sequence[GridPoint]) -> bool:
    return points[0].cell.config.table is TableWidth.wide


def _entries(
    points: Sequence[GridPoint], outcome: Outcome, metrics: Sequence[str], varied: Sequence[str], stands: Stands
) -> list[Entry]:
    """The dense models, then every grid point."""
    entries: list[Entry] = []
    first: dict[str, GridPoint] = {}
    for point in points:
        if point.reason is None:
            first.setdefault(point.cell.dense_id, point)
    for dense_id, point in first.items():
        if dense_id in outcome.results:
            result = outcome.results[dense_id]
            overrides = _overrides(point) | {"model": result["axes"]["model"]}
            labels = (overrides.get(key, "") if is_of_model(key) else "" for key in varied)
            entries.append(Entry(["dense", "", *labels], [[_dense_text(result, name)] for name in metrics]))
    return entries + [
        Entry(
            _labels(point, varied),
            [texts if _is_wide(points) else texts[:1] for texts in _row(point, metrics, outcome)],
            [COLOURS.get(stands.get((point.cell.id, name), ""), "") for name in metrics],
        )
        for point in points
    ]


def _legend(metrics: Sequence[str], is_turned: bool, results: Mapping[str, dict[str, Any]], *, is_wide: bool) -> list[str]:
    if not metrics:
        return []
    scores = {name: score for result in results.values() for name, score in result["metrics"].items() if name in metrics}
    falling = [name for name in metrics if name in scores and not scores[name]["higher_is_better"]]
    lower = dict.fromkeys(
        name.partition("/")[0] if name.startswith(("ppl/", "bpb/", "bpb_chat/")) else name for name in falling
    )
    better = f"{', '.join(lower)}: lower is better; others: higher." if lower else "Higher is better."
    where = "After" if is_turned else "Under"
    told = f"{where} each score: its difference to dense (d) and to the c4 row (c4)." if is_wide else ""
    return [" ".join(filter(None, [told, better, "" if is_wide else "table=wide shows differences."]))]


def closing_lines(points: Sequence[GridPoint], outcome: Outcome) -> list[str]:
    """The lines under the table and its legend."""
    lines = []
    if any(_drops_prompt(point) or _dropped(point) for point in points):
        lines.append(
            "A value in brackets cannot matter there (raw text has no prompt): points that differ only in it are one cell, "
            "run once."
        )
    distinct = {point.cell.id for point in points if point.reason is None and not point.cell.is_dense}
    asked = f"{count(len(points), 'grid point')}, {count(len(distinct), 'distinct pruned cell')}"
    lines.append(f"{asked}, and dense for comparison.")
    lines += not_applicable_lines(points)
    overlapping = [result for result in outcome.results.values() if _shares_items(result)]
    if overlapping:
        lines.append(
            f"In {count(len(overlapping), 'cell')}, scored items share text with the calibration set: see overlap in "
            "result.json."
        )
    if own := own_set_scores(list(outcome.results.values())):
        lines.append(f"These scores measure a set that a cell here was calibrated on: {', '.join(own)}.")
    lines += dict.fromkeys(
        f"{result['axes']['model']}: {note}"
        for result in outcome.results.values()
        for note in result.get("model", {}).get("notes", ())
    )
    if any(SAMPLE_NOTE in result["warnings"] for result in outcome.results.values()):
        lines.append(SAMPLE_NOTE)
    return lines


def own_set_scores(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where several sets are compared, the scores of a set that one of the cells was calibrated on: `ppl/c4`."""
    sets = [(each["axes"].get("calib"), name) for each in results for name in each["metrics"]]
    if len({calib for calib, _ in sets} - {None}) < 2:
        return []
    return sorted({name for calib, name in sets if name.partition("/")[2] == calib})


def _shares_items(result: Mapping[str, Any]) -> bool:
    return any(overlap["num_shared_rows"] or overlap["num_shared_ngrams"] for overlap in result.get("overlap", {}).values())


def not_applicable_lines(points: Sequence[GridPoint]) -> list[str]:
    """The points that mean nothing, and why; one line a reason."""
    varied, names = varied_keys(points), dict[str, list[str]]()
    for point in points:
        if point.reason is not None:
            names.setdefault(point.reason, []).append(_short_name(point, varied))
    return [f"not applicable: {_first_few(several)}: {reason}" for reason, several in names.items()]


def _first_few(names: Sequence[str]) -> str:
    shown = names if len(names) <= MAX_NAMES else [*names[: MAX_NAMES - 1], f"{len(names) - MAX_NAMES + 1} more"]
    return ", ".join(shown)


def varied_keys(points: Sequence[GridPoint]) -> list[str]:
    """The overridden keys, but calib and prompt, in which points differ: also one that some of them leave as it is."""
    asked = [_overrides(point) for point in points]
    keys = dict.fromkeys(key for overrides in asked for key in overrides if key not in _NAMED)
    return [key for key in keys if len({overrides.get(key) for overrides in asked}) > 1]


def _row(point: GridPoint, metrics: Sequence[str], outcome: Outcome) -> list[list[str]]:
    """For each metric its score, and its differences."""
    cell = point.cell
    if point.reason is not None:
        return [["n/a"] for _ in metrics]
    if cell.id not in outcome.results:
        state = "running" if cell.id in outcome.held else "failed" if cell.id in outcome.failures else "-"
        return [[state] for _ in metrics]
    baseline = baseline_cell(cell)
    c4 = None if baseline is None else outcome.results.get(baseline.id)
    result, dense = outcome.results[cell.id], outcome.results.get(cell.dense_id)
    return [_score_texts(name, result, dense, c4) for name in metrics]


def _score_texts(
    name: str, result: dict[str, Any], dense: dict[str, Any] | None, baseline: dict[str, Any] | None
) -> list[str]:
    if name not in result["metrics"]:
        return ["-"]
    score = result["metrics"][name]
    texts = [_number(score, score["value"])]
    others = {"d": dense} | ({} if name.startswith(f"{SPEED}/") else {"c4": baseline})
    for mark, other in others.items():
        if other is not None and name in other["metrics"] and are_comparable(score, other["metrics"][name]):
            texts.append(f"{mark} {_number(score, score['value'] - other['metrics'][name]['value'], sign='+')}")
    return texts


def _dense_text(result: dict[str, Any], name: str) -> str:
    return _number(result["metrics"][name], result["metrics"][name]["value"]) if name in result["metrics"] else "-"


def _number(score: Mapping[str, Any], value: float, sign: str = "") -> str:
    """What rounds to 0 has no sign."""
    text = format(value, f"{sign}.{score['decimals']}f")
    return text.lstrip("+-") if float(text) == 0 else text


def _labels(point: GridPoint, varied: Sequence[str]) -> list[str]:
    axes, overrides = point.cell.axes, _overrides(point)
    config = point.cell.config
    prompt = config.prompt.name.value if axes.prompt or point.reason else f"({config.prompt.name.value})"
    shown = in_its_language(config.calib).shown_name
    calib = shown if axes.calib or point.reason else f"({shown})"
    dropped = _dropped(point)
    values = [f"({overrides[key]})" if key in dropped else _label(key, overrides.get(key, "")) for key in varied]
    return [calib, prompt, *values]


def _label(key: str, value: str) -> str:
    """The value; of a switch with its name, as it stands in a head without one: `reverse=true`."""
    return f"{key.rpartition('.')[2]}={value}" if value in ("true", "false") else value


def _drops_prompt(point: GridPoint) -> bool:
    return point.reason is None and not point.cell.axes.prompt


def _dropped(point: GridPoint) -> list[str]:
    """Of a selector, token weights and a method those that are asked for and cannot matter."""
    axes, config = point.cell.axes, point.cell.config
    drops = isinstance(config.sparsity, DropConfig) and axes.sparsity is not None
    asked = {
        "select": (axes.select, is_random(config.select)),
        "weight": (axes.weight, counts_alike(config.weight)),
        "method": (None if drops else axes.method, "method" not in _overrides(point)),
        "reconstruct": (axes.reconstruct, config.reconstruct.name == "none"),
    }
    return [key for key, (kept, default) in asked.items() if point.reason is None and kept is None and not default]


def _short_name(point: GridPoint, varied: Sequence[str]) -> str:
    """The point by its calibration set, its prompt and what else varies."""
    config = point.cell.config
    shown = {"calib": in_its_language(config.calib).shown_name, "prompt": config.prompt.name.value}
    shown |= {key: value for key, value in _overrides(point).items() if key in varied}
    return " ".join(f"{key}={value}" for key, value in shown.items())


def _overrides(point: GridPoint) -> dict[str, str]:
    return dict(override.partition("=")[::2] for override in point.overrides)


def _metric_names(points: Sequence[GridPoint]) -> list[str]:
    """The scores that this line asks for; a result may hold more, from other lines."""
    names: dict[str, None] = {}
    for planned in (point.cell.scores for point in points):
        names |= dict.fromkeys([*(each.name for each in planned), *planned_means(planned)])
    return sorted(names, key=lambda name: not name.startswith("ppl/"))


def _title(points: Sequence[GridPoint], varied: Sequence[str]) -> str:
    config = points[0].cell.config
    axes = points[0].cell.axes
    fixed = {"model": config.model.name, "method": axes.method, "sparsity": axes.sparsity or ""}
    fixed |= {"reconstruct": f"reconstruct={axes.reconstruct}"} if axes.reconstruct else {}
    shown = [value for key, value in fixed.items() if value and not any(name.split(".")[0] == key for name in varied)]
    return "  ".join(
        [*shown, f"{config.calib.num_samples} x {config.calib.seq_len} tokens", f"{config.data.name.value} data"]
    )
