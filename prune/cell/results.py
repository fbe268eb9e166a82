"""What a cell has measured: one file a score, written as soon as it is known, and result.json made of them.

A score is kept under its metric's name and a hash of everything that was asked for, so that another protocol (another limit,
another length) is measured anew and the earlier number stays.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prune.eval.metric import PlannedMetric
from prune.eval.suites import mean_metrics
from prune.files import parse_json, read_json, write_json
from prune.pruning.linear_report import LinearReport

SCHEMA = 1
"""Version of result.json."""

CHECKSUM = "sha256"
"""The key of a file's checksum, in the file itself."""


def checksum(plain: Mapping[str, Any]) -> str:
    """The SHA-256 of an object as canonical JSON, without the checksum itself."""
    rest = {key: value for key, value in plain.items() if key != CHECKSUM}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def score_path(folder: Path, planned: PlannedMetric) -> Path:
    """The file of one score in a cell's folder."""
    text = json.dumps(planned.asked, sort_keys=True)
    return folder / "scores" / f"{file_name(planned.name)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"


def file_name(metric: str) -> str:
    """A metric's name as a file name: `acc/gsm8k` -> `acc-gsm8k`."""
    return metric.replace("/", "-")


def missing_scores(folder: Path, planned: Sequence[PlannedMetric]) -> list[PlannedMetric]:
    """The planned scores that are still to be measured."""
    return [metric for metric in planned if not score_path(folder, metric).exists()]


def write_score(
    folder: Path,
    planned: PlannedMetric,
    metric: dict[str, Any],
    seconds: float,
    beside: Mapping[str, dict[str, Any]],
    overlap: Mapping[str, Any] | None = None,
) -> None:
    """Keep one measured score, the metrics that were measured beside it by their names, and what its items share with the
    calibration set."""
    score = {
        "name": planned.name,
        "asked": planned.asked,
        "metric": metric,
        "beside": dict(beside),
        "overlap": overlap and dict(overlap),
        "seconds": round(seconds, 3),
    }
    write_json(score_path(folder, planned), score)


def read_scores(folder: Path, planned: Sequence[PlannedMetric]) -> tuple[dict[str, Any], float]:
    """The planned scores by name and the means that they give, as result.json holds them, and the seconds that they took."""
    scores = [read_json(score_path(folder, metric)) for metric in planned]
    found = [score for score in scores if score is not None]
    metrics: dict[str, Any] = {}
    for score in found:
        metrics |= {score["name"]: score["metric"]} | score.get("beside", {})
    metrics |= mean_metrics(planned, metrics)
    return metrics, sum(score["seconds"] for score in found)


def read_overlaps(folder: Path, planned: Sequence[PlannedMetric]) -> dict[str, dict[str, Any]]:
    """Metric -> what its items share with the calibration set, for the planned scores where that is known."""
    scores = [read_json(score_path(folder, metric)) for metric in planned]
    return {score["name"]: score["overlap"] for score in scores if score is not None and score.get("overlap")}


def read_result(folder: Path) -> dict[str, Any] | None:
    """result.json of the cell in `folder`; None when there is none."""
    return read_json(folder / "result.json")


def finished_result(folder: Path, planned: Sequence[PlannedMetric]) -> dict[str, Any] | None:
    """The result of a cell that has every planned score, or None.

    When result.json holds another protocol's number under a planned name, it is written again from the scores.
    """
    result = read_result(folder)
    if result is None or missing_scores(folder, planned):
        return None
    asked, _ = read_scores(folder, planned)
    if any(result["metrics"].get(name) != metric for name, metric in asked.items()):
        result["metrics"] |= asked
        result["overlap"] = result.get("overlap", {}) | read_overlaps(folder, planned)
        write_json(folder / "result.json", result)
    return result


def read_linears(folder: Path) -> list[dict[str, Any]]:
    """blocks.jsonl of the cell in `folder`: one dict a pruned linear; empty for a dense cell."""
    path = folder / "blocks.jsonl"
    return [parse_json(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def read_reports(folder: Path, ratio: float) -> list[LinearReport]:
    """blocks.jsonl of a cell's folder; files of before it kept the asked share had one `ratio` for all linears."""
    return [LinearReport(**{"asked": ratio} | line | {"shape": tuple(line["shape"])}) for line in read_linears(folder)]
