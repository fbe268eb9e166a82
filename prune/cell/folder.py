"""The folder of a cell: the name of each file in it, and what a cell has measured, read and written.

A score has a file of its own, written as soon as it is known, under its metric's name and a hash of everything that was
asked for: another protocol (another limit, another length) is measured anew and the earlier number stays.

result.json, scores/*.json and pruned.json hold their own checksum. A damaged file counts as a missing one: the score is
measured again, the weights are pruned again, result.json is made again from the scores.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prune.config.config import SAVED, Save
from prune.errors import DamagedFileError
from prune.eval.items import without_texts
from prune.eval.metric import PlannedMetric
from prune.files import disk_errors, draft, parse_json, read_checked_json, write_checked_json, write_text, write_whole
from prune.pruning.linear_report import LinearReport

SCHEMA = 2
"""Version of result.json."""


class CellFolder:
    """outputs/cells/<id>; its lock is `prune.cell.lock.claim`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.status = path / "status.json"
        self.job = path / "job.json"
        self.result = path / "result.json"
        self.scores = path / "scores"
        self.pruned = path / "pruned.json"
        """The hashes of the weights and of blocks.jsonl, what was saved, and the seconds."""
        self.blocks = path / "blocks.jsonl"
        self.gpu = path / "gpu.jsonl"
        self.log = path / "run.log"

    def score(self, planned: PlannedMetric) -> Path:
        """The file of one score."""
        text = json.dumps(planned.asked, sort_keys=True)
        return self.scores / f"{_file_name(planned.name)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"

    def items(self, planned: PlannedMetric) -> Path:
        """The items of one score; `shown_items` is the same file for the score that result.json shows."""
        return self.path / "items" / f"{self.score(planned).stem}.jsonl.gz"

    def shown_items(self, metric: str) -> Path:
        """The items of a metric in result.json."""
        return self.path / "items" / f"{_file_name(metric)}.jsonl.gz"

    def saved(self, save: Save) -> Path:
        """What holds the weights as `save` asks."""
        return self.path / SAVED[save]

    def read_score(self, planned: PlannedMetric) -> dict[str, Any] | None:
        """One score; None when there is none, or its file is damaged."""
        return _undamaged(self.score(planned))

    def read_scores(self, planned: Sequence[PlannedMetric]) -> list[dict[str, Any]]:
        """The planned scores that exist."""
        return [score for score in map(self.read_score, planned) if score is not None]

    def read_all_scores(self) -> list[dict[str, Any]]:
        """All scores of all protocols, the latest last."""
        paths = sorted(self.scores.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return [score for score in map(_undamaged, paths) if score is not None]

    def missing_scores(self, planned: Sequence[PlannedMetric]) -> list[PlannedMetric]:
        """The planned scores that are still to be measured."""
        return [metric for metric in planned if self.read_score(metric) is None]

    def write_score(
        self,
        planned: PlannedMetric,
        metric: dict[str, Any],
        seconds: float,
        beside: Mapping[str, dict[str, Any]],
        overlap: Mapping[str, Any] | None = None,
        weights_sha256: str | None = None,
    ) -> None:
        """Write a score, and with it further metrics of the same items by their names (`beside`), what its items share with
        the calibration set, and the hash of the weights that it was measured on."""
        score = {
            "name": planned.name,
            "asked": planned.asked,
            "metric": metric,
            "beside": dict(beside),
            "overlap": overlap and dict(overlap),
            "weights_sha256": weights_sha256,
            "seconds": round(seconds, 3),
        }
        write_checked_json(self.score(planned), score)

    def write_items(self, planned: PlannedMetric, items: Sequence[Mapping[str, Any]]) -> None:
        """Write the items of a score, a line each."""
        _write_items(self.items(planned), items)

    def drop_texts(self) -> None:
        """Leave ids and numbers of all items whose texts an earlier line kept."""
        for path, items in self._items_with_texts():
            _write_items(path, [without_texts(item) for item in items])

    def holds_texts(self) -> bool:
        """Whether items hold texts of rows.

        Raises:
            DamagedFileError: an items file cannot be read.
        """
        return any(True for _ in self._items_with_texts())

    def _items_with_texts(self) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
        for path in sorted((self.path / "items").glob("*.jsonl.gz")):
            try:
                items = [parse_json(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise DamagedFileError(path, str(error)) from None
            if any(item != without_texts(item) for item in items):
                yield path, items

    def show_items(self, planned: Sequence[PlannedMetric]) -> None:
        """Let `items/<metric>.jsonl.gz` be the items of the planned scores, where they have any."""
        for metric in planned:
            own, shown = self.items(metric), self.shown_items(metric.name)
            if own.exists() and not (shown.exists() and shown.samefile(own)):
                with disk_errors(shown), draft(shown) as place:
                    os.link(own, place)
                    place.replace(shown)

    def read_result(self) -> dict[str, Any] | None:
        """result.json; None when there is none.

        Raises:
            DamagedFileError: it does not hold what was written, or an earlier version of this program wrote it.
        """
        result = read_checked_json(self.result)
        if result is not None and result.get("schema") != SCHEMA:
            raise DamagedFileError(self.result, f"schema {result.get('schema')}, and this version writes {SCHEMA}")
        return result

    def find_result(self) -> dict[str, Any] | None:
        """result.json; None when there is none that can be used."""
        try:
            return self.read_result()
        except DamagedFileError:
            return None

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json."""
        write_checked_json(self.result, result)

    def read_pruned(self) -> dict[str, Any] | None:
        """pruned.json; None when there is none, or it or blocks.jsonl is damaged."""
        pruned = _undamaged(self.pruned)
        return pruned if pruned is not None and pruned["blocks_sha256"] == self._hash_blocks() else None

    def write_pruned(
        self,
        weights_sha256: str,
        saved: Sequence[str],
        seconds: Mapping[str, float],
        dropped: Mapping[str, Any] | None = None,
    ) -> None:
        """Write pruned.json, with the parts that were dropped where whole ones were."""
        hashes = {"weights_sha256": weights_sha256, "blocks_sha256": self._hash_blocks()}
        parts = {"dropped": dropped} if dropped else {}
        write_checked_json(self.pruned, {**hashes, "saved": saved, "seconds": seconds, **parts})

    def is_saved(self, save: Save) -> bool:
        """Whether the folder holds the weights as `save` asks."""
        if save is Save.none:
            return True
        pruned = self.read_pruned()
        return pruned is not None and save.value in pruned["saved"] and self.saved(save).exists()

    def keeps_weights(self) -> bool:
        """Whether the folder holds the weights in any way."""
        return any(self.is_saved(save) for save in SAVED)

    def read_linears(self) -> list[dict[str, Any]]:
        """blocks.jsonl: an object for each pruned linear; empty for a dense cell.

        Raises:
            DamagedFileError: a line is not a JSON object, or the file is not the one that pruned.json was written for.
        """
        pruned = _undamaged(self.pruned)
        if pruned is not None and pruned["blocks_sha256"] != self._hash_blocks():
            raise DamagedFileError(self.blocks, f"it does not fit {self.pruned.name}")
        try:
            linears = [parse_json(line) for line in self.blocks.read_bytes().splitlines()] if self.blocks.exists() else []
        except ValueError as error:
            raise DamagedFileError(self.blocks, str(error)) from None
        if not all(isinstance(linear, dict) for linear in linears):
            raise DamagedFileError(self.blocks, "a line is not a JSON object")
        return linears

    def read_reports(self) -> list[LinearReport]:
        """blocks.jsonl, as the reports of the pruning."""
        return [LinearReport(**line | {"shape": tuple(line["shape"])}) for line in self.read_linears()]

    def write_reports(self, reports: Sequence[LinearReport]) -> None:
        """Write blocks.jsonl."""
        write_text(self.blocks, "".join(json.dumps(asdict(report)) + "\n" for report in reports))

    def find_damage(self, planned: Sequence[PlannedMetric]) -> list[str]:
        """What is wrong with the files that a result of the planned scores rests on, and how it is made again."""
        remade = {self.pruned: "the cell is pruned again"}
        remade |= {self.score(metric): f"{metric.name} is measured again" for metric in planned}
        reasons = {path: _damage(path) for path in remade}
        damage = [
            f"{path.relative_to(self.path)} was damaged ({reason}): {remade[path]}."
            for path, reason in reasons.items()
            if reason is not None
        ]
        if not damage and self.pruned.exists() and self.read_pruned() is None:
            damage.append(f"{self.blocks.name} does not fit {self.pruned.name}: the cell is pruned again.")
        try:
            self.read_result()
        except DamagedFileError as error:
            damage.append(f"{self.result.name} was damaged ({error.reason}): it is rebuilt from the scores.")
        return damage

    def _hash_blocks(self) -> str | None:
        return hashlib.sha256(self.blocks.read_bytes()).hexdigest() if self.blocks.exists() else None


def _write_items(path: Path, items: Sequence[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    write_whole(path, lambda stream: stream.write(gzip.compress(text.encode(), mtime=0)))


def _file_name(metric: str) -> str:
    """`acc/gsm8k` -> `acc-gsm8k`."""
    return metric.replace("/", "-")


def _undamaged(path: Path) -> dict[str, Any] | None:
    """The object in a file that holds its checksum; None when there is no such file, or it is damaged."""
    try:
        return read_checked_json(path)
    except DamagedFileError:
        return None


def _damage(path: Path) -> str | None:
    """What is wrong with a file that holds its checksum; None when nothing is, or there is none."""
    try:
        read_checked_json(path)
    except DamagedFileError as error:
        return error.reason
    return None
