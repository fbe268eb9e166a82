"""Result files -> `Report`: reading, joining, comparing and judging, in this order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prune.cell.baseline import BASELINE
from prune.cell.result import CellResult
from prune.errors import UserError, allowed
from prune.files import now
from prune.report.compare.compare import collect_column, compare_rows
from prune.report.compare.statistics import ALPHA
from prune.report.compare.verdicts import best_rows, judge
from prune.report.findings.abilities import find_abilities, find_gaps, find_retained
from prune.report.findings.curves import find_curves
from prune.report.findings.explanations import explain_ranking
from prune.report.findings.glance import find_glances
from prune.report.findings.notes import HOW, not_alike, notes
from prune.report.findings.pruning import block_curves, mask_overlaps
from prune.report.findings.questions import answer_questions
from prune.report.findings.rounding import rounding_notes
from prune.report.findings.speeds import split_speeds
from prune.report.model import Cells, Metric, Origin, OverlapWarning, Protocol, Report, RowMetric, Rows, Verdict
from prune.report.model_findings import Glance
from prune.report.numbers import OF_DRAWS
from prune.report.results.items import ItemsOfRows
from prune.report.results.join import CATEGORIES, Joined, calibration_sets, categories_of, category_of, join_cells
from prune.report.results.parts import Part, Place, read_parts, together
from prune.report.results.protocols import check_protocols
from prune.report.results.read import Found, read_results

MAX_ITEM_FILES = 5_000
"""Up to so many files of items, every row is compared item by item; beyond, only the best rows."""
HARNESS = "lm_eval"
"""The first part of the names of lm-eval's scores: `lm_eval/<task>/<metric>`."""
STAGES = ("load", "calib", "prune", "eval", "total")
OF_SETS = ("select",)
"""Stages that make a set, once for all cells that share it; shown where any result has them."""

Protocols = Mapping[tuple[str, str], Mapping[str, Any]]


def build_report(
    outputs: Path,
    *,
    sweep: str | None = None,
    baseline: str | None = None,
    model: str | None = None,
    metrics: Sequence[str] | None = None,
    cells_href: str = "../cells",
    beside: Sequence[Place] = (),
    elsewhere: Mapping[Path, str] | None = None,
) -> Report:
    """The report on the results in `outputs`, or on those of one sweep and model.

    Args:
        beside: other folders or sweeps to compare side by side with these results.
        elsewhere: folder of `beside` -> the link to its cells.
        metrics: names of the metrics to report on; None takes all.
        baseline: the calibration set that others are compared with, with its prompt (`gsm8k-icl`) where it has several;
            None takes C4 where there is one.

    Raises:
        UserError: no usable result, an unknown sweep, model, metric or baseline, or results that cannot be mixed.
    """
    parts = read_parts([Place(outputs, sweep), *beside], model, metrics)
    found = together(parts)
    found.results, speeds = split_speeds(found.results)
    for part in parts:
        part.found.results, _ = split_speeds(part.found.results)
    protocols = check_protocols(found.results, found.sweeps)
    joined, baseline_label = _with_baseline(join_cells(found.results, found.unfinished), baseline)
    measured = _metrics(found.results, protocols)
    items = ItemsOfRows(found.results, [row.cells for row in joined.rows])
    pairs_all = _num_item_files(found.results) <= MAX_ITEM_FILES
    row_metrics, verdicts = _compare(measured, found.results, joined, items, pairs_all)
    blocks, block_notes = block_curves(found.results, joined)
    overlaps, mask_notes = mask_overlaps(found.results, joined)
    calibs = calibration_sets(found.results)
    places = {(result.axes["model"], result.method, result.axes["sparsity"]) for result in found.results}
    rounding = rounding_notes(outputs, places)
    return Report(
        title=" against ".join(part.name for part in parts) if beside else _title(found),
        sample_data=any(result.reads_sample for result in found.results),
        generated=now(),
        outputs=" and ".join(dict.fromkeys(str(place) for place in [outputs, *(each.outputs for each in beside)])),
        cells_href=cells_href,
        elsewhere={result.id: link for result in found.results if (link := _link(result, elsewhere or {}))},
        sweeps=found.sweeps,
        baseline=baseline_label,
        warnings=[
            *notes(found, joined, measured, baseline_label, pairs_all, list(items.problems)),
            *rounding,
            *block_notes,
            *mask_notes,
        ],
        metrics=measured,
        calibs=calibs,
        groups=joined.groups,
        cells=_cells(found.results, joined, measured),
        rows=_rows(joined, [calib.name for calib in calibs], row_metrics),
        verdicts=verdicts,
        questions=[
            *answer_questions(measured, found.results, joined, items if pairs_all else None),
            *explain_ranking(measured, found.results, joined),
        ],
        how=HOW,
        abilities=find_abilities(measured),
        glances=_glances(parts, measured, found, joined, items if pairs_all else None, baseline),
        retained=find_retained(find_abilities(measured), measured, found.results, joined),
        gaps=find_gaps(measured, found.results, joined),
        curves=find_curves(found.results, joined, calibs),
        blocks=blocks,
        mask_overlaps=overlaps,
        overlap_warnings=_overlap_warnings(found.results, measured),
        speeds=speeds,
        unfinished=found.unfinished,
        origins=_origins(found.results),
        protocols=_protocols(found.results, measured, protocols),
    )


def _link(result: CellResult, elsewhere: Mapping[Path, str]) -> str | None:
    return elsewhere.get(result.folder.parent.parent)


def _glances(
    parts: Sequence[Part],
    metrics: Sequence[Metric],
    found: Found,
    joined: Joined,
    items: ItemsOfRows | None,
    baseline: str | None,
) -> list[Glance]:
    """A glance for each model, of each part where there are several; groups are numbered as in the whole report."""
    if len(parts) == 1:
        return find_glances(metrics, found.results, joined, items)
    group_of = {found.results[cell].id: row.group for row in joined.rows for cell in row.cells}
    made = []
    for part in parts:
        of_part, _ = _with_baseline(join_cells(part.found.results, []), baseline)
        own_items = None if items is None else ItemsOfRows(part.found.results, [row.cells for row in of_part.rows])
        firsts = [part.found.results[of_part.rows[group.rows[0]].cells[0]] for group in of_part.groups]
        groups = [group_of[first.id] for first in firsts]
        for glance in find_glances(metrics, part.found.results, of_part, own_items, part.name):
            panels = [panel if panel.group is None else replace(panel, group=groups[panel.group]) for panel in glance.panels]
            made.append(replace(glance, groups=[groups[group] for group in glance.groups], panels=panels))
    return made


def find_stands(outputs: Path, sweep: str) -> dict[tuple[str, str], str]:
    """(cell, score) -> `better` or `worse`, where its row differs from the baseline beyond the noise of draws and items.

    Raises:
        UserError: as `build_report`.
    """
    found = read_results(outputs, sweep)
    protocols = check_protocols(found.results, found.sweeps)
    joined, _ = _with_baseline(join_cells(found.results, []), None)
    items = ItemsOfRows(found.results, [row.cells for row in joined.rows])
    stands: dict[tuple[str, str], str] = {}
    for metric in _metrics(found.results, protocols):
        compared = compare_rows(collect_column(metric.name, found.results, joined), joined, items).to_baseline
        for row, (difference, p, basis) in enumerate(zip(compared.difference, compared.p, compared.basis, strict=True)):
            if difference is not None and p is not None and p < ALPHA and basis in OF_DRAWS:
                stand = "better" if (difference > 0) == metric.higher_is_better else "worse"
                stands |= {(found.results[cell].id, metric.name): stand for cell in joined.rows[row].cells}
    return stands


def _title(found: Found) -> str:
    models = list(dict.fromkeys(result.axes["model"] for result in found.results))
    shown = ", ".join(models) if len(models) < 4 else f"{len(models)} models"
    return f"Calibration data for {shown}"


def _with_baseline(joined: Joined, asked: str | None) -> tuple[Joined, str]:
    """(`joined` with the baseline's row in each group that has it, its label; empty when there is none)."""
    wanted = BASELINE if asked is None else asked
    found = [_baseline_row(joined, group, wanted) for group in range(len(joined.groups))]
    labels = [joined.rows[row].label for row in found if row is not None]
    if asked is not None and not labels:
        known = list(dict.fromkeys(row.label for row in joined.rows if row.calib is not None))
        raise UserError(f"--baseline={asked} is not in the data. {allowed(asked, known)}")
    groups = [replace(group, baseline_row=row) for group, row in zip(joined.groups, found, strict=True)]
    return Joined(joined.rows, groups), labels[0] if labels else ""


def _baseline_row(joined: Joined, group: int, wanted: str) -> int | None:
    rows = [(row, joined.rows[row]) for row in joined.groups[group].rows]
    exact = [row for row, joined_row in rows if joined_row.label == wanted]
    plain = [(row, joined_row) for row, joined_row in rows if joined_row.is_plain]
    of_set = [row for row, joined_row in plain if wanted in (joined_row.calib, f"{joined_row.calib}-{joined_row.prompt}")]
    if len(exact) != 1 and len(of_set) > 1:
        labels = [joined.rows[row].label for row in of_set]
        raise UserError(
            f"--baseline={wanted} names several rows of {joined.groups[group].label}. Allowed: {', '.join(labels)}."
        )
    return next(iter(exact or of_set), None)


def _metrics(results: Sequence[CellResult], protocols: Protocols) -> list[Metric]:
    """The metrics of the results, perplexities first, then by category of their sets."""
    scores = {name: score for result in results for name, score in result.scores.items()}
    categories, found = categories_of(results), []
    for name, score in scores.items():
        kind, label, dataset = _place(name, score.protocol)
        asked = [protocol for (_, metric), protocol in protocols.items() if metric == name]
        shared = {key: value for key, value in asked[0].items() if all(other.get(key) == value for other in asked)}
        num_items = shared.pop("num_items", None)
        found.append(
            Metric(
                name=name,
                kind=kind,
                label=label,
                dataset=dataset,
                category=category_of(dataset, categories),
                unit=score.unit,
                scale=score.scale,
                higher_is_better=score.higher_is_better,
                chance=score.chance,
                num_items=num_items,
                protocol=shared,
                decimals=score.decimals,
            )
        )
    return sorted(found, key=lambda metric: (metric.scale != "log", CATEGORIES.index(metric.category)))


def _place(name: str, protocol: Mapping[str, Any]) -> tuple[str, str, str]:
    """(a metric's kind, its label, the set that it is measured on): `acc`, `gsm8k`, `gsm8k`."""
    family, _, rest = name.partition("/")
    if family != HARNESS:
        return family, rest, rest
    task, _, measure = rest.rpartition("/")
    kind = f"{family} mean {measure}" if "tasks" in protocol else f"{family} {measure}"
    return kind, task, str(protocol.get("set") or task)


def _protocols(results: Sequence[CellResult], metrics: Sequence[Metric], protocols: Protocols) -> list[Protocol]:
    models = {result.dense_cell: result.axes["model"] for result in results}
    index = {metric.name: place for place, metric in enumerate(metrics)}
    return [
        Protocol(
            metric=index[name],
            model=models[dense],
            num_items=protocol["num_items"],
            protocol={key: value for key, value in protocol.items() if key != "num_items"},
        )
        for (dense, name), protocol in protocols.items()
    ]


def _num_item_files(results: Sequence[CellResult]) -> int:
    return sum(score.items is not None for result in results for score in result.scores.values())


def _compare(
    metrics: Sequence[Metric], results: Sequence[CellResult], joined: Joined, items: ItemsOfRows, pairs_all: bool
) -> tuple[list[RowMetric], list[Verdict]]:
    """(every metric of every row, the verdicts by group and metric).

    Args:
        pairs_all: whether all rows are compared item by item; else only the best.
    """
    row_metrics, verdicts = [], []
    for index, metric in enumerate(metrics):
        column = collect_column(metric.name, results, joined)
        only = None if pairs_all else best_rows(column, joined)
        row_metrics.append(compare_rows(column, joined, items, only))
        judged = judge(index, column, row_metrics[-1], joined, items)
        verdicts += [replace(verdict, note=_not_alike(verdict, results, joined)) for verdict in judged]
    return row_metrics, sorted(verdicts, key=lambda verdict: (verdict.group, verdict.metric))


def _not_alike(verdict: Verdict, results: Sequence[CellResult], joined: Joined) -> str:
    """What the cells that a verdict compares do not share."""
    rows = [verdict.best, *verdict.ties, *(each.row for each in (verdict.baseline, verdict.runner_up) if each is not None)]
    return not_alike([results[cell] for row in rows for cell in joined.rows[row].cells])


def _cells(results: Sequence[CellResult], joined: Joined, metrics: Sequence[Metric]) -> Cells:
    row_of = {cell: index for index, row in enumerate(joined.rows) for cell in row.cells}
    scores = [[result.scores.get(metric.name) for result in results] for metric in metrics]
    return Cells(
        id=[result.id for result in results],
        name=[result.name for result in results],
        row=[row_of[cell] for cell in range(len(results))],
        seed=[result.axes["seed"] for result in results],
        draw=[result.draw[1] if result.draw else None for result in results],
        values=[[None if score is None else score.value for score in column] for column in scores],
        stderrs=[[None if score is None else score.stderr for score in column] for column in scores],
        sparsity_reached=[result.sparsity_reached for result in results],
        seconds={stage: [result.seconds.get(stage) for result in results] for stage in _stages(results)},
        host_mb=[result.memory_mb.get("host") for result in results],
        device_mb=[result.memory_mb.get("device") for result in results],
    )


def _stages(results: Sequence[CellResult]) -> list[str]:
    """The stages of every cell, and those of `OF_SETS` that any result has."""
    return [*STAGES, *(stage for stage in OF_SETS if any(result.seconds.get(stage) is not None for result in results))]


def _rows(joined: Joined, calibs: Sequence[str], metrics: Sequence[RowMetric]) -> Rows:
    index = {name: place for place, name in enumerate(calibs)}
    return Rows(
        group=[row.group for row in joined.rows],
        calib=[None if row.calib is None else index[row.calib] for row in joined.rows],
        prompt=[row.prompt for row in joined.rows],
        select=[row.select for row in joined.rows],
        weight=[row.weight for row in joined.rows],
        knobs=[row.knobs for row in joined.rows],
        cells=[row.cells for row in joined.rows],
        missing=[row.missing for row in joined.rows],
        metrics=metrics,
    )


def _overlap_warnings(results: Sequence[CellResult], metrics: Sequence[Metric]) -> list[OverlapWarning]:
    index = {metric.name: place for place, metric in enumerate(metrics)}
    return [
        OverlapWarning(
            cell=cell,
            metric=index[name],
            num_items=counts["num_items"],
            num_shared_rows=counts["num_shared_rows"],
            num_shared_ngrams=counts["num_shared_ngrams"],
        )
        for cell, result in enumerate(results)
        for name, counts in result.overlap.items()
        if name in index
    ]


def _origins(results: Sequence[CellResult]) -> list[Origin]:
    """The distinct environments that the cells ran in, the most frequent first."""
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        provenance = result.provenance
        key = repr([provenance.get(name) for name in ("git", "dirty", "device", "gpu", "versions")])
        alike.setdefault(key, []).append(provenance)
    origins = [
        Origin(
            num_cells=len(several),
            git=several[0].get("git"),
            dirty=several[0].get("dirty"),
            device=str(several[0].get("gpu") or several[0].get("device", "")),
            hosts=sorted({str(provenance.get("host", "")) for provenance in several}),
            versions=dict(several[0].get("versions", {})),
        )
        for several in alike.values()
    ]
    return sorted(origins, key=lambda origin: -origin.num_cells)
