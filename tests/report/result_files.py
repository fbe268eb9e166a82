"""Writes the files of cells as prune.cell.run leaves them, with scores made of given items."""

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from prune.cell.folder import SCHEMA
from prune.eval.metric import mean, mean_stderr

Items = Sequence[float]
"""0 and 1 of an accuracy, losses of a perplexity."""

DENSE_ID = "d" * 12

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass
class Outputs:
    """A folder of results that grows by calls."""

    root: Path
    with_items: bool = True
    source: str = "hub"
    num_cells: int = 0
    points: list[dict[str, Any]] = field(default_factory=list)
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Metric -> fields of its entry that differ from those of an accuracy or perplexity: unit, scale, direction."""

    def dense(
        self,
        scores: Mapping[str, Items],
        model: str = "m",
        cell_id: str = DENSE_ID,
        protocol: Mapping[str, Any] | None = None,
    ) -> Path:
        """The dense cell of a model."""
        axes = {"model": model, "calib": None, "prompt": None, "method": "dense", "sparsity": None, "seed": None}
        canonical = {
            "format": 2,
            "model": {"weights": f"of {model}", "tokenizer": f"of {model}", "dtype": "float32"},
            "method": {"class": "DenseConfig"},
        }
        return self._write(cell_id, f"{model}/dense", axes, cell_id, canonical, scores, protocol)

    def cell(
        self,
        calib: str,
        prompt: str | None = None,
        *,
        scores: Mapping[str, Items],
        seed: int = 0,
        ratio: float = 0.5,
        model: str = "m",
        dense_id: str = DENSE_ID,
        num_samples: int = 128,
        prompt_knobs: Mapping[str, Any] | None = None,
        method: str = "wanda",
        method_knobs: Mapping[str, Any] | None = None,
        protocol: Mapping[str, Any] | None = None,
        rows: str | None = None,
        draw: int = 0,
        select: Mapping[str, Any] | None = None,
        weight: Mapping[str, Any] | None = None,
    ) -> Path:
        """A pruned cell, under an id of its own; `rows` is the hash of what its calibration set draws from.

        `select` and `weight` are the knobs of a selector and of token weights, with their names.
        """
        sparsity = f"{100 * ratio:g}%"
        axes = {"model": model, "calib": calib, "prompt": prompt, "method": method, "sparsity": sparsity, "seed": seed}
        calibration = {"name": calib, "num_samples": num_samples, "seq_len": 2048, "seed": seed, "compat": "none"}
        calibration |= {"source": self.source, "rows": rows or f"rows of {calib}", **({"draw": draw} if draw else {})}
        named = {axis: knobs and knobs["name"] for axis, knobs in (("select", select), ("weight", weight))}
        axes |= {**named, "draw": draw or None}
        if select:
            calibration["select"] = {key: value for key, value in select.items() if key != "name"}
        canonical = {
            "format": 2,
            "model": {"weights": f"of {model}", "tokenizer": f"of {model}", "dtype": "float32"},
            "method": {"class": method, **(method_knobs or {})},
            "sparsity": {"class": "UnstructuredConfig", "ratio": ratio},
            "calib": calibration | {"prompt": prompt and {"name": prompt, "separator": "\n\n", **(prompt_knobs or {})}},
        }
        if weight:
            canonical["weight"] = {key: value for key, value in weight.items() if key != "name"}
        parts = "-".join(filter(None, (calib, prompt, *named.values())))
        name = f"{model}/{parts}/{method}/{sparsity}/s{seed}{f'd{draw}' if draw else ''}"
        self.num_cells += 1
        return self._write(f"{self.num_cells:012x}", name, axes, dense_id, canonical, scores, protocol)

    def _write(
        self,
        cell_id: str,
        name: str,
        axes: Mapping[str, Any],
        dense_id: str,
        canonical: Mapping[str, Any],
        scores: Mapping[str, Items],
        protocol: Mapping[str, Any] | None,
    ) -> Path:
        folder = self.root / "cells" / cell_id
        (folder / "items").mkdir(parents=True)
        result = {
            "schema": SCHEMA,
            "cell": cell_id,
            "name": name,
            "axes": axes,
            "dense_cell": dense_id,
            "metrics": {metric: self._entry(metric, items, protocol or {}) for metric, items in scores.items()},
            "sparsity": {"asked": 0.5, "reached": 0.5, "num_zero": 1, "num_weights": 2},
            "calib": None,
            "data": {"source": self.source, "root": None},
            "overlap": {},
            "warnings": [],
            "seconds": {"load": 1.0, "calib": 2.0, "prune": 3.0, "eval": 4.0, "total": 10.0},
            "peak_memory_mb": {"host": 100.0, "device": 0.0},
            "provenance": {"git": "abc", "dirty": False, "versions": {"torch": "2.13"}, "device": "cpu", "host": "n1"},
        }
        write_json(folder / "result.json", result)
        (folder / "config.yaml").write_text(to_yaml({"canonical": canonical, "asked": {"model": {"name": axes["model"]}}}))
        (folder / "status.json").write_text(
            json.dumps({"state": "done", "since": "", "host": "n1", "pid": 1, "job_id": None})
        )
        for metric, items in scores.items() if self.with_items else ():
            write_items(folder, metric, items, self._column(metric))
        self.points.append({"cell": cell_id, "dense_cell": dense_id, "name": name, "overrides": [], "not_applicable": None})
        return folder

    def grid(
        self, sweep: str, extra: Sequence[Mapping[str, Any]] = (), points: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """The grid.jsonl of a sweep: the cells so far (or `points`), and further lines."""
        path = self.root / "sweeps" / sweep / "grid.jsonl"
        path.parent.mkdir(parents=True)
        lines = [*(self.points if points is None else points), *extra]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def _is_log(self, metric: str) -> bool:
        return self.measures.get(metric, {}).get("scale", "log" if metric.startswith("ppl/") else "linear") == "log"

    def _column(self, metric: str) -> str:
        return "loss" if self._is_log(metric) else "score" if metric in self.measures else "correct"

    def _entry(self, metric: str, items: Items, protocol: Mapping[str, Any]) -> dict[str, Any]:
        is_log = self._is_log(metric)
        stderr = mean_stderr(items)
        value = math.exp(mean(items)) if is_log else mean(items)
        return {
            "value": value,
            "stderr": stderr if stderr is None or not is_log else value * stderr,
            "num_items": len(items),
            "higher_is_better": not is_log,
            "chance": None,
            "protocol": {"kind": "test", "batch_size": 8, **protocol},
            "unit": "perplexity per token" if is_log else "accuracy",
            "scale": "log" if is_log else "linear",
            "decimals": 2 if is_log else 3,
            "items": {"metric": metric, "keys": [self._column(metric)], "weight_keys": None},
        } | self.measures.get(metric, {})


def write_json(path: Path, value: Any) -> None:
    """Overwrite a result."""
    path.write_text(json.dumps(value))


def change_result(folder: Path, **changes: Any) -> None:
    """Replace top-level keys of a cell's result.json."""
    path = folder / "result.json"
    write_json(path, json.loads(path.read_text()) | changes)


def to_yaml(plain: Mapping[str, Any]) -> str:
    """As prune.cell.run writes config.yaml."""
    return yaml.dump(dict(plain), Dumper=_DUMPER, sort_keys=False, allow_unicode=True)


def write_items(
    folder: Path, metric: str, items: Items, column: str | None = None, clusters: Sequence[int] | None = None
) -> None:
    """items/<metric>.jsonl.gz of a cell."""
    of_metric = "loss" if metric.startswith("ppl/") else "correct"
    packed = _packed(column or of_metric, tuple(items), None if clusters is None else tuple(clusters))
    (folder / "items" / f"{metric.replace('/', '-')}.jsonl.gz").write_bytes(packed)


@lru_cache(maxsize=4096)
def _packed(column: str, items: tuple[float, ...], clusters: tuple[int, ...] | None = None) -> bytes:
    values = [bool(value) if column == "correct" else value for value in items]
    shared = [{}] * len(items) if clusters is None else [{"cluster": cluster} for cluster in clusters]
    rows = [{"id": index, column: value, **more} for index, (value, more) in enumerate(zip(values, shared, strict=True))]
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), compresslevel=1)
