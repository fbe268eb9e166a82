"""What a cell has measured: one file a score, written as soon as it is known, and result.json made of them.

A score is kept under its metric's name and a hash of everything that was asked for, so that another protocol (another limit,
another length) is measured anew and the earlier number stays. result.json shows one number a name, that of the protocol that
was asked for last, and keeps those of other protocols under `earlier`. Reading writes nothing; `prune.cell.run` and
`prune.cell.settle` write, under the claim.

result.json, scores/*.json and pruned.json hold their own checksum. A file that is damaged counts as one that is not there: a
score is measured again, the weights are pruned again, result.json is made again of the scores.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prune.cell.memory import higher_peak
from prune.config.config import SAVED, Save
from prune.errors import DamagedFileError
from prune.eval.metric import PlannedMetric
from prune.eval.overlap import Overlap
from prune.eval.questions.window import describe_skipped
from prune.eval.suites import mean_metrics
from prune.files import disk_errors, parse_json, read_checked_json, write_checked_json
from prune.pruning.linear_report import LinearReport

SCHEMA = 2
"""Version of result.json."""

RESULT_FILE = "result.json"
PRUNED_FILE = "pruned.json"
BLOCKS_FILE = "blocks.jsonl"

Result = Mapping[str, Any]
"""result.json."""


def score_path(folder: Path, planned: PlannedMetric) -> Path:
    """The file of one score in a cell's folder."""
    text = json.dumps(planned.asked, sort_keys=True)
    return folder / "scores" / f"{file_name(planned.name)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"


def items_path(folder: Path, planned: PlannedMetric) -> Path:
    """Where the items of one score lie; `items/<metric>.jsonl.gz` is the same file as that of the score that is shown."""
    return folder / "items" / f"{score_path(folder, planned).stem}.jsonl.gz"


def show_items(folder: Path, planned: Sequence[PlannedMetric]) -> None:
    """Let `items/<metric>.jsonl.gz` be the items of the planned scores, where they have any."""
    for metric in planned:
        own, shown = items_path(folder, metric), folder / "items" / f"{file_name(metric.name)}.jsonl.gz"
        if own.exists() and not (shown.exists() and shown.samefile(own)):
            draft = shown.with_name(f".{shown.name}.{os.getpid()}")
            with disk_errors(shown):
                draft.unlink(missing_ok=True)
                os.link(own, draft)
                draft.replace(shown)


def file_name(metric: str) -> str:
    """A metric's name as a file name: `acc/gsm8k` -> `acc-gsm8k`."""
    return metric.replace("/", "-")


def read_score(folder: Path, planned: PlannedMetric) -> dict[str, Any] | None:
    """The kept score; None when there is none, or its file is damaged."""
    try:
        return read_checked_json(score_path(folder, planned))
    except DamagedFileError:
        return None


def missing_scores(folder: Path, planned: Sequence[PlannedMetric]) -> list[PlannedMetric]:
    """The planned scores that are still to be measured."""
    return [metric for metric in planned if read_score(folder, metric) is None]


def write_score(
    folder: Path,
    planned: PlannedMetric,
    metric: dict[str, Any],
    seconds: float,
    beside: Mapping[str, dict[str, Any]],
    overlap: Mapping[str, Any] | None = None,
    weights_sha256: str | None = None,
) -> None:
    """Keep one measured score, the metrics that were measured beside it by their names, what its items share with the
    calibration set, and the weights that it was measured on."""
    score = {
        "name": planned.name,
        "asked": planned.asked,
        "metric": metric,
        "beside": dict(beside),
        "overlap": overlap and dict(overlap),
        "weights_sha256": weights_sha256,
        "seconds": round(seconds, 3),
    }
    write_checked_json(score_path(folder, planned), score)


def read_scores(folder: Path, planned: Sequence[PlannedMetric]) -> tuple[dict[str, Any], float]:
    """The planned scores by name and the means that they give, as result.json holds them, and the seconds that they took."""
    found = _kept_scores(folder, planned)
    return _metrics(found, planned), sum(score["seconds"] for score in found)


def _metrics(scores: Sequence[Mapping[str, Any]], planned: Sequence[PlannedMetric]) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for score in scores:
        metrics |= {score["name"]: score["metric"]} | score["beside"]
    return metrics | mean_metrics(planned, metrics)


def read_overlaps(folder: Path, planned: Sequence[PlannedMetric]) -> dict[str, dict[str, Any]]:
    """Metric -> what its items share with the calibration set, for the planned scores where that is known."""
    return _overlaps(_kept_scores(folder, planned))


def _overlaps(scores: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {score["name"]: score["overlap"] for score in scores if score["overlap"]}


def scores_of_other_weights(folder: Path, planned: Sequence[PlannedMetric], weights_sha256: str) -> list[str]:
    """The planned scores that were measured on weights with another hash."""
    kept = _kept_scores(folder, planned)
    return [score["name"] for score in kept if score["weights_sha256"] not in (None, weights_sha256)]


def _kept_scores(folder: Path, planned: Sequence[PlannedMetric]) -> list[dict[str, Any]]:
    scores = [read_score(folder, metric) for metric in planned]
    return [score for score in scores if score is not None]


def read_result(folder: Path) -> dict[str, Any] | None:
    """result.json of the cell in `folder`; None when there is none.

    Raises:
        DamagedFileError: it does not hold what was written, or an earlier version of this program wrote it.
    """
    result = read_checked_json(folder / RESULT_FILE)
    if result is not None and result.get("schema") != SCHEMA:
        raise DamagedFileError(folder / RESULT_FILE, f"schema {result.get('schema')}, and this version writes {SCHEMA}")
    return result


def find_result(folder: Path) -> dict[str, Any] | None:
    """result.json of the cell in `folder`; None when there is none that can be used."""
    try:
        return read_result(folder)
    except DamagedFileError:
        return None


def write_result(folder: Path, result: Result) -> None:
    """Write result.json."""
    write_checked_json(folder / RESULT_FILE, result)


def find_damage(folder: Path, planned: Sequence[PlannedMetric]) -> list[str]:
    """What is wrong with the files that a result of the planned scores rests on, and what becomes of it."""
    remade = {folder / PRUNED_FILE: "the cell is pruned again"}
    remade |= {score_path(folder, metric): f"{metric.name} is measured again" for metric in planned}
    damage = []
    for path, consequence in remade.items():
        if reason := _reason(path):
            damage.append(f"{path.relative_to(folder)} was damaged ({reason}): {consequence}.")
    if not damage and (folder / PRUNED_FILE).exists() and read_pruned(folder) is None:
        damage.append(f"{BLOCKS_FILE} does not fit {PRUNED_FILE}: the cell is pruned again.")
    if reason := _reason(folder / RESULT_FILE):
        damage.append(f"{RESULT_FILE} was damaged ({reason}): it is made again of the scores.")
    return damage


def _reason(path: Path) -> str | None:
    """What is wrong with a file of ours; None when nothing is, or there is none."""
    try:
        read_result(path.parent) if path.name == RESULT_FILE else read_checked_json(path)
    except DamagedFileError as error:
        return error.reason
    return None


def finished_result(folder: Path, planned: Sequence[PlannedMetric], save: Save = Save.none) -> dict[str, Any] | None:
    """The result of a cell that has every planned score, and its weights as `save` asks; None of any other.

    It shows the planned scores, whatever result.json shows.
    """
    result = find_result(folder)
    scores = [] if result is None else _kept_scores(folder, planned)
    if result is None or len(scores) < len(planned):
        return None
    if result["cell"] != result["dense_cell"] and not is_saved(folder, save):
        return None
    return show_scores(result, _metrics(scores, planned), _overlaps(scores))


def renewed_result(folder: Path, planned: Sequence[PlannedMetric], facts: Result, warnings: Sequence[str]) -> dict[str, Any]:
    """result.json after a run: the facts of this run, and the scores and warnings of it and of earlier ones.

    `facts` are all keys but `metrics`, `earlier`, `overlap`, `warnings` and `runs`.
    """
    former, metrics = find_result(folder), read_scores(folder, planned)[0]
    others = scores_of_other_weights(folder, planned, facts["weights_sha256"])
    if former is None:
        result = gather(folder, {**facts, "warnings": [], "runs": []})
    else:
        peak = higher_peak(facts["peak_memory_mb"], former["peak_memory_mb"])
        result = {**former, **facts, "peak_memory_mb": peak, "runs": [*former["runs"], former["provenance"]]}
        if former["weights_sha256"] != facts["weights_sha256"]:
            others += [name for name in former["metrics"] if name not in metrics]
    own = _own_warnings(result)
    if others:
        own.append(f"Pruned again, with other bits than those that {', '.join(dict.fromkeys(others))} were measured on.")
    result["warnings"] = list(dict.fromkeys([*own, *warnings]))
    return show_scores(json.loads(json.dumps(result)), metrics, read_overlaps(folder, planned))


def gather(folder: Path, facts: Result) -> dict[str, Any]:
    """A new result.json of a cell that has none: `facts` with all scores that were kept, the latest of each name shown."""
    result: dict[str, Any] = {"metrics": {}, "earlier": [], "overlap": {}, **facts}
    for path in sorted((folder / "scores").glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        if _reason(path) is None and (score := read_checked_json(path)) is not None:
            overlap = {score["name"]: score["overlap"]} if score["overlap"] else {}
            result = show_scores(result, {score["name"]: score["metric"]} | score["beside"], overlap)
    return result


def show_scores(result: Result, metrics: Mapping[str, Any], overlaps: Mapping[str, Any]) -> dict[str, Any]:
    """`result` with these metrics under their names, with their overlaps and warnings; numbers of other protocols that stood
    there go to `earlier`, and the rest stays."""
    shown, overlap = dict(result["metrics"]), dict(result["overlap"])
    earlier = [entry for entry in result["earlier"] if _basis(entry["metric"]) != _basis(metrics.get(entry["name"]))]
    for name, metric in metrics.items():
        former = shown.get(name, metric)
        if _basis(former) != _basis(metric):
            earlier.append({"name": name, "metric": former, "overlap": overlap.pop(name, None)})
    shown |= metrics
    overlap |= overlaps
    warnings = [*_own_warnings(result), *metric_warnings(shown, overlap)]
    return {**result, "metrics": shown, "earlier": earlier, "overlap": overlap, "warnings": warnings}


def _basis(metric: Mapping[str, Any] | None) -> Any:
    """What a number was measured on; a protocol says how, and `num_items` how much of it."""
    return metric and (metric["protocol"], metric["num_items"])


def _own_warnings(result: Result) -> list[str]:
    """The warnings that are not of single metrics."""
    of_metrics = metric_warnings(result["metrics"], result["overlap"])
    return [warning for warning in result["warnings"] if warning not in of_metrics]


def metric_warnings(metrics: Mapping[str, Any], overlaps: Mapping[str, Any]) -> list[str]:
    """What a reader should know of single metrics: items that were left out, or that the calibration set has too."""
    known = {name: Overlap(**counts) for name, counts in overlaps.items()}
    shared = [f"{name}: {overlap.describe()}" for name, overlap in known.items() if overlap.has_shared_items]
    return [*describe_skipped(metrics), *shared]


def read_pruned(folder: Path) -> dict[str, Any] | None:
    """pruned.json of the cell in `folder`: the hashes of its weights and of blocks.jsonl, what was saved, and the seconds.

    None when there is none, or one of the two is damaged.
    """
    try:
        pruned = read_checked_json(folder / PRUNED_FILE)
    except DamagedFileError:
        return None
    return pruned if pruned is not None and pruned["blocks_sha256"] == hash_blocks(folder) else None


def write_pruned(folder: Path, weights_sha256: str, saved: Sequence[str], seconds: Mapping[str, float]) -> None:
    """Write pruned.json."""
    pruned = {"weights_sha256": weights_sha256, "blocks_sha256": hash_blocks(folder), "saved": saved, "seconds": seconds}
    write_checked_json(folder / PRUNED_FILE, pruned)


def hash_blocks(folder: Path) -> str | None:
    """The SHA-256 of blocks.jsonl; None when there is none."""
    path = folder / BLOCKS_FILE
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def is_saved(folder: Path, save: Save) -> bool:
    """Whether the cell's folder holds its weights as `save` asks."""
    if save is Save.none:
        return True
    pruned = read_pruned(folder)
    return pruned is not None and save.value in pruned["saved"] and (folder / SAVED[save]).exists()


def read_linears(folder: Path) -> list[dict[str, Any]]:
    """blocks.jsonl of the cell in `folder`: one dict a pruned linear; empty for a dense cell.

    Raises:
        DamagedFileError: a line is no JSON.
    """
    path = folder / BLOCKS_FILE
    try:
        return [parse_json(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    except ValueError as error:
        raise DamagedFileError(path, str(error)) from None


def read_reports(folder: Path) -> list[LinearReport]:
    """blocks.jsonl of a cell's folder."""
    return [LinearReport(**line | {"shape": tuple(line["shape"])}) for line in read_linears(folder)]
