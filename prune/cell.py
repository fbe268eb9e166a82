"""A cell: its canonical form and id, its folder and status.

Two grid points whose canonical forms are equal are one cell. The form keeps what can change the pruned model or the rows it
is scored on, and drops the rest: evaluation settings, tracker, launcher, device and batch sizes.
"""

import hashlib
import json
import os
import socket
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from prune.calib.identity import calibration_id, canonical_calibration
from prune.claim import job_id, now
from prune.config import (
    Allocation,
    Config,
    DenseConfig,
    MagnitudeConfig,
    MethodConfig,
    NMConfig,
    Propagation,
    RandomConfig,
    SparsityConfig,
    UnstructuredConfig,
)
from prune.files import read_json, write_json

FORMAT = 1
"""Part of every id; raised when the same configuration comes to mean another result."""


class State(str, Enum):
    """Where a cell stands."""

    todo = "todo"
    pending = "pending"
    """It waits in the queue; never in status.json."""
    running = "running"
    done = "done"
    failed = "failed"


@dataclass(frozen=True, slots=True)
class Axes:
    """A cell's place on the axes; None where an axis does not matter to it."""

    model: str
    calib: str | None
    prompt: str | None
    method: str
    sparsity: str | None
    seed: int | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One pruned model (or the dense one), identified by its canonical form."""

    id: str
    axes: Axes
    canonical: dict[str, Any]
    config: Config
    dense_id: str

    @property
    def is_dense(self) -> bool:
        """Whether this is the unpruned model."""
        return self.id == self.dense_id

    @property
    def name(self) -> str:
        """`tiny/gsm8k-icl/wanda/50%/s0`, without the parts that do not matter."""
        calib = "-".join(part for part in (self.axes.calib, self.axes.prompt) if part)
        seed = None if self.axes.seed is None else f"s{self.axes.seed}"
        return "/".join(part for part in (self.axes.model, calib, self.axes.method, self.axes.sparsity, seed) if part)

    @property
    def output_dir(self) -> Path:
        """outputs."""
        return Path(self.config.output_dir)

    def folder(self) -> Path:
        """outputs/cells/<id>."""
        return self.output_dir / "cells" / self.id


def describe_sparsity(config: SparsityConfig) -> str:
    """`50%`, `2:4`, `50%-owl`, or `50%-mapped` where single linears have ratios of their own."""
    if isinstance(config, UnstructuredConfig):
        how = "-mapped" if config.ratios else "-owl" if config.allocation is Allocation.owl else ""
        return f"{100 * config.ratio:g}%{how}"
    assert isinstance(config, NMConfig)
    return f"{config.n}:{config.m}"


def uses_calibration(config: Config) -> bool:
    """Whether pruning looks at inputs: the method, or the allocation of the ratios."""
    if isinstance(config.method, DenseConfig):
        return False
    by_inputs = isinstance(config.sparsity, UnstructuredConfig) and config.sparsity.allocation is Allocation.owl
    return by_inputs or propagation(config) is not None


def propagation(config: Config) -> Propagation | None:
    """By whose outputs the method prunes the later blocks; None when it looks at no inputs."""
    if isinstance(config.method, DenseConfig | MagnitudeConfig | RandomConfig):
        return None
    return config.method.propagation


def pass_key(config: Config) -> str | None:
    """Equal for cells that one pass of the calibration set through the dense model serves; None where none does."""
    if propagation(config) is not Propagation.dense:
        return None
    calibration = calibration_id(config.calib, config.prompt, config.data, config.model)
    return repr((calibration, config.model, config.device, config.batch_size))


def canonical_form(config: Config) -> dict[str, Any]:
    """What identifies the cell: plain values, class names included, nothing that cannot matter."""
    form: dict[str, Any] = {
        "format": FORMAT,
        "model": _canonical_model(config),
        "data": {"source": config.data.name.value, "root": config.data.root and str(Path(config.data.root).resolve())},
        "method": _canonical_method(config),
    }
    if isinstance(config.method, DenseConfig):
        return form
    form["sparsity"] = _canonical_sparsity(config.sparsity)
    if isinstance(config.method, RandomConfig):
        form["seed"] = config.calib.seed
    if uses_calibration(config):
        form["calib"] = canonical_calibration(config.calib, config.prompt)
    return form


def make_cell(config: Config) -> Cell:
    """The cell of a configuration."""
    form = canonical_form(config)
    dense = form if isinstance(config.method, DenseConfig) else canonical_form(replace(config, method=DenseConfig()))
    return Cell(id=_hash(form), axes=_axes(config, form), canonical=form, config=config, dense_id=_hash(dense))


def dense_cell(cell: Cell) -> Cell:
    """The unpruned model that `cell` is compared with."""
    return make_cell(replace(cell.config, method=DenseConfig()))


def _axes(config: Config, form: dict[str, Any]) -> Axes:
    calib = form.get("calib")
    return Axes(
        model=config.model.name,
        calib=calib and config.calib.name,
        prompt=calib and calib.get("prompt") and config.prompt.name.value,
        method=config.method.name,
        sparsity=describe_sparsity(config.sparsity) if "sparsity" in form else None,
        seed=config.calib.seed if calib or "seed" in form else None,
    )


def _canonical_model(config: Config) -> dict[str, Any]:
    model = asdict(config.model)
    path = config.model.path
    if path and Path(path).exists():
        model["path"] = str(Path(path).resolve())
    return {key: _plain(model[key]) for key in ("name", "path", "revision", "gguf_file", "dtype")}


def _canonical_method(config: Config) -> dict[str, Any]:
    """Without the patterns of names where all linears are meant; their order and repetition mean nothing.

    The propagation stands in it where it is not the published one and there are inputs.
    """
    form = _with_class(config.method)
    targets, skip = (sorted(set(form.pop(key))) for key in ("targets", "skip"))
    del form["propagation"]
    if isinstance(config.method, DenseConfig):
        return form
    if propagation(config) is Propagation.dense:
        form["propagation"] = Propagation.dense.value
    if "*" not in targets:
        form["targets"] = targets
    return form | ({"skip": skip} if skip else {})


def _canonical_sparsity(config: SparsityConfig) -> dict[str, Any]:
    """Without what is at its default where that key came later; ratios as pairs, as their order counts."""
    form = _with_class(config)
    ratios = form.pop("ratios", None)
    if form.get("allocation") == Allocation.uniform.value:
        form = {key: form[key] for key in ("class", "ratio")}
    return form | ({"ratios": [[pattern, ratio] for pattern, ratio in ratios.items()]} if ratios else {})


def _with_class(config: MethodConfig | SparsityConfig) -> dict[str, Any]:
    return {"class": type(config).__name__} | {key: _plain(value) for key, value in asdict(config).items() if key != "name"}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _hash(form: dict[str, Any]) -> str:
    text = json.dumps(form, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def write_status(folder: Path, state: State, error: str | None = None, job: str | None = None) -> None:
    """Write status.json of the cell in `folder`; `job` is the Slurm job that it is about, ours unless given."""
    status = {
        "state": state.value,
        "since": now(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "job_id": job or job_id(),
        "error": error,
    }
    write_json(folder / "status.json", status)


def read_status(folder: Path) -> dict[str, Any] | None:
    """status.json of the cell in `folder`; None when it has none."""
    return read_json(folder / "status.json")
