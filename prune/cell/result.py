"""result.json as a typed value, for what compares many cells: read fast, and every value checked.

People and disks may have changed the file: what cannot be used is reported, and costs that cell only.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prune.cell.cell import method_label
from prune.cell.folder import SCHEMA, CellFolder
from prune.cell.json_fields import NUMBER, OPTIONAL_NUMBER, OPTIONAL_TEXT, TEXT, take, take_each
from prune.cell.knobs import Knobs, read_knobs
from prune.config.data import DataSource
from prune.eval.metric import ItemColumn, Metric
from prune.files import CHECKSUM, checksum, parse_json

MEASURED_OF_SETS = ("dense_perplexity", "tfidf_distance", "type_token_ratio")
NUMERIC_KNOBS = ("sparsity.ratio", "calib.num_samples", "calib.seq_len")

_AGAIN = "Run its cell again: remove that file and run the line again"


@dataclass(frozen=True, slots=True)
class CellResult:
    """One finished cell."""

    id: str
    name: str
    folder: Path
    axes: Mapping[str, Any]
    dense_cell: str
    scores: Mapping[str, Metric]
    knobs: Knobs
    sparsity_reached: float
    seconds: Mapping[str, float | None]
    """By stage; `select` is what choosing the rows took, once for all cells of the set."""
    memory_mb: Mapping[str, float]
    provenance: Mapping[str, Any]
    source: str
    """Where the rows of the shipped sets came from: sample, hub or local."""
    overlap: Mapping[str, Mapping[str, int]]
    """Metric -> counts, where items are shared with the calibration set."""
    warnings: Sequence[str]
    sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Category and source of each set that the cell read, by name."""
    sequences_sha256: str | None = None
    """Of its calibration set, whatever the order of the sequences; None without one, and of older results."""
    dropped: Mapping[str, Any] | None = None
    """Which whole parts of the model went; None where none did."""
    of_set: Mapping[str, float | None] = field(default_factory=dict)
    """What was measured of its calibration set: its perplexity under the dense model, its diversity."""
    num_real_tokens: float | None = None
    """Tokens of text in its calibration set; None without one, and of older results."""

    @property
    def draw(self) -> tuple[int, int] | None:
        """Which draw of its calibration set it is: the seed, and the number of the draw; None where nothing is drawn."""
        seed = self.axes["seed"]
        return None if seed is None else (int(seed), int(self.axes.get("draw") or 0))

    @property
    def method(self) -> str:
        """`wanda`, or `wanda+block` where its kept weights were refitted."""
        return method_label(self.axes["method"], self.axes["reconstruct"])

    @property
    def has_own_set(self) -> bool:
        """Whether it was calibrated on a set of the user's own."""
        return self.sets.get(self.axes["calib"] or "", {}).get("source") == "own"

    @property
    def reads_sample(self) -> bool:
        """Whether rows of it were generated."""
        sources = {entry.get("source") for entry in self.sets.values()} if self.sets else {self.source}
        return DataSource.sample.value in sources

    @property
    def is_dense(self) -> bool:
        """Whether this is the unpruned model."""
        return self.id == self.dense_cell


class UnreadableResultError(Exception):
    """A result that cannot be used; `state` is `corrupt` or `schema`."""

    def __init__(self, state: str, reason: str) -> None:
        self.state = state
        super().__init__(reason)


def read_cell_result(folder: Path) -> CellResult:
    """The result of the cell in `folder`, every value checked.

    Raises:
        FileNotFoundError: there is no result.json.
        UnreadableResultError: it cannot be used.
    """
    path = CellFolder(folder).result
    try:
        plain = _read_object(path)
        schema = plain["schema"]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise UnreadableResultError("corrupt", f"{path} is damaged ({error})") from None
    if schema != SCHEMA:
        raise UnreadableResultError(
            "schema", f"{path} has schema {schema}; this version of prune reads {SCHEMA}. Run its cell again with it."
        )
    if CHECKSUM in plain and plain[CHECKSUM] != checksum(plain):
        raise UnreadableResultError(
            "corrupt", f"{path} was changed after it was written: its {CHECKSUM} is that of other contents. {_AGAIN}"
        )
    try:
        return _make_result(folder, plain)
    except (KeyError, TypeError, AttributeError, ValueError, OSError, RecursionError) as error:
        raise UnreadableResultError("corrupt", f"{path} is damaged ({error})") from None


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


def _make_result(folder: Path, plain: Mapping[str, Any]) -> CellResult:
    if take(plain, "cell", TEXT) != folder.name:
        raise ValueError(f"it is the result of cell {plain['cell']}")
    memory, source = take(plain, "peak_memory_mb", (dict,)), take(take(plain, "data", (dict,)), "source", TEXT)
    return CellResult(
        id=plain["cell"],
        name=take(plain, "name", TEXT),
        folder=folder,
        axes=_axes(take(plain, "axes", (dict,))),
        dense_cell=take(plain, "dense_cell", TEXT),
        scores={name: _make_metric(entry) for name, entry in take_each(plain, "metrics", (dict,)).items()},
        knobs=_checked_knobs({**read_knobs(CellFolder(folder).config), "data.source": source}),
        sparsity_reached=take(take(plain, "sparsity", (dict,)), "reached", NUMBER),
        seconds={**take_each(plain, "seconds", OPTIONAL_NUMBER), **_selection(plain.get("calib"))},
        memory_mb={key: take(memory, key, OPTIONAL_NUMBER) for key in ("host", "device") if key in memory},
        provenance=_provenance(take(plain, "provenance", (dict,))),
        source=source,
        sets=take_each(plain, "sets", (dict,)) if "sets" in plain else {},
        of_set=_of_set(plain.get("calib")),
        num_real_tokens=_real_tokens(plain.get("calib")),
        dropped=take({"dropped": plain.get("dropped")}, "dropped", (dict, type(None))),
        overlap={name: counts for name, counts in take_each(plain, "overlap", (dict,)).items() if _is_shared(counts)},
        warnings=_texts(take(plain, "warnings", (list,))),
        sequences_sha256=_sequences(plain.get("calib")),
    )


def _of_set(calib: Any) -> Mapping[str, float | None]:
    """Results of older versions say nothing of it."""
    known = calib if isinstance(calib, dict) else {}
    return {key: take(known, key, OPTIONAL_NUMBER) for key in MEASURED_OF_SETS if key in known}


def _real_tokens(calib: Any) -> float | None:
    known = calib if isinstance(calib, dict) else {}
    number: float | None = take({"num_real_tokens": None, **known}, "num_real_tokens", OPTIONAL_NUMBER)
    return number


def _selection(calib: Any) -> Mapping[str, float | None]:
    """What choosing the rows took when the set was made; nothing where none were chosen."""
    known = calib if isinstance(calib, dict) else {}
    return take_each(known, "seconds", OPTIONAL_NUMBER) if "seconds" in known else {}


def _axes(axes: Mapping[str, Any]) -> Mapping[str, Any]:
    for axis in ("model", "method"):
        take(axes, axis, TEXT)
    for axis in ("calib", "prompt", "sparsity"):
        take(axes, axis, OPTIONAL_TEXT)
    take(axes, "seed", (int, type(None)))
    later = {"select": OPTIONAL_TEXT, "weight": OPTIONAL_TEXT, "draw": (int, type(None)), "reconstruct": OPTIONAL_TEXT}
    return {**axes, **{axis: take({axis: axes.get(axis)}, axis, kinds) for axis, kinds in later.items()}}


def _sequences(calib: Any) -> str | None:
    """The hash of the calibration set's sequences, where it was written."""
    told: str | None = take(calib, "sequences_sha256", TEXT) if calib and "sequences_sha256" in calib else None
    return told


def _checked_knobs(knobs: Knobs) -> Knobs:
    """The knobs, those that curves run along as numbers."""
    for key in NUMERIC_KNOBS:
        if key in knobs:
            take(knobs, key, NUMBER)
    return knobs


def _provenance(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in ("git", "device", "gpu", "host"):
        if key in provenance:
            take(provenance, key, OPTIONAL_TEXT)
    if "versions" in provenance:
        take_each(provenance, "versions", OPTIONAL_TEXT)
    return provenance


def _texts(values: Sequence[Any]) -> Sequence[str]:
    if not all(isinstance(value, str) for value in values):
        raise ValueError("warnings are not all text")
    return values


def _make_metric(entry: Mapping[str, Any]) -> Metric:
    metric = Metric(
        value=float(take(entry, "value", NUMBER)),
        stderr=take(entry, "stderr", OPTIONAL_NUMBER),
        num_items=take(entry, "num_items", (int,)),
        higher_is_better=take(entry, "higher_is_better", (bool,)),
        chance=take(entry, "chance", OPTIONAL_NUMBER),
        protocol=take(entry, "protocol", (dict,)),
        unit=take(entry, "unit", TEXT),
        scale=take(entry, "scale", TEXT),
        decimals=take(entry, "decimals", (int,)),
        items=_item_column(take(entry, "items", (dict, type(None)))),
    )
    if metric.scale not in ("linear", "log"):
        raise ValueError(f"scale is {metric.scale}, not linear or log")
    if not math.isfinite(metric.value) or (metric.is_log and metric.value <= 0):
        raise ValueError(f"value is {metric.value}")
    return metric


def _item_column(entry: Mapping[str, Any] | None) -> ItemColumn | None:
    if entry is None:
        return None
    weight_keys = take(entry, "weight_keys", (list, type(None)))
    return ItemColumn(metric=take(entry, "metric", TEXT), keys=take(entry, "keys", (list,)), weight_keys=weight_keys)


def _is_shared(counts: Mapping[str, int]) -> bool:
    take(counts, "num_items", (int,))
    return any(int(take(counts, key, (int,))) > 0 for key in ("num_shared_rows", "num_shared_ngrams"))
