"""The story of one cell: claim it, build its calibration set, prune block by block, score, keep the result."""

import gzip
import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from prune.cell.cell import Cell, asked_config, plan
from prune.cell.dense_statistics import DENSE_NOTE
from prune.cell.gpu import watch_gpu
from prune.cell.identity import propagation, uses_calibration
from prune.cell.lock import claim
from prune.cell.log import Stopwatch, log, log_to
from prune.cell.provenance import (
    CodeState,
    code_warning,
    describe_placement,
    peak_device_memory_mb,
    peak_host_memory_mb,
    provenance,
)
from prune.cell.resources import Workshop
from prune.cell.results import (
    SCHEMA,
    file_name,
    finished_result,
    missing_scores,
    read_overlaps,
    read_result,
    read_scores,
    write_score,
)
from prune.cell.slurm_queue import job_id
from prune.cell.state import State, write_status
from prune.cell.watcher import Watcher
from prune.config.config import Config, Save
from prune.config.data import SAMPLE_NOTE, DataSource
from prune.config.method import Propagation
from prune.errors import UserError
from prune.eval.metric import PlannedMetric
from prune.files import now, read_json, write_json, write_text, write_whole
from prune.models.load import resolve_device
from prune.pruning.methods.dense import DenseConfig

if TYPE_CHECKING:
    from torch import Tensor

    from prune.calib.calibration_set import CalibrationSet
    from prune.data.sources.source import Source
    from prune.models.load import LoadedModel
    from prune.pruning.linear_report import LinearReport
    from prune.pruning.saved import MaskKeeper


def run_cell(cell: Cell, workshop: Workshop, watcher: Watcher, submitted: CodeState | None = None) -> dict[str, Any]:
    """Bring one cell to its result and return result.json; do only what is missing.

    `submitted` is the code at the submission of the job that runs it; None outside a job.

    Raises:
        prune.cell.lock.CellHeldError: another living process works on it.
        Exception: whatever went wrong; status.json then says "failed" and run.log holds the traceback.
    """
    folder = cell.folder()
    with claim(folder), log_to(folder / "run.log"), watch_gpu(folder):
        result = finished_result(folder, plan(cell))
        if result is not None:
            return result
        write_status(folder, State.running)
        try:
            result = _prune_and_score(cell, workshop, watcher, submitted)
            write_json(folder / "result.json", result)
        except BaseException as error:
            if isinstance(error, SystemExit) and job_id() is not None:
                log.info("the job goes back to the queue; the cell goes on from here")
                raise  # status.json keeps saying "running"
            log.error("failed\n%s", traceback.format_exc())
            _write_failure(folder, error)
            raise
        write_status(folder, State.done)
        return result


def _prune_and_score(cell: Cell, workshop: Workshop, watcher: Watcher, submitted: CodeState | None) -> dict[str, Any]:
    from prune.pruning.linear_report import describe_linears, describe_sparsity

    started, clock = now(), Stopwatch()
    config, folder = cell.config, cell.folder()
    device = resolve_device(config.device)
    log.info("cell %s %s on %s", cell.id, cell.name, device)
    write_text(folder / "config.yaml", OmegaConf.to_yaml({"canonical": cell.canonical, "asked": asked_config(cell)}))
    with clock("calib"):
        calibration = _calibration_set(cell, workshop, watcher)
    watcher.stage("load")
    with clock("load"):
        loaded = workshop.dense_model(config.model, device)
    with clock("prune"):
        reports, sha256, differs = _pruned(cell, loaded, calibration, workshop, watcher)
    for planned in missing_scores(folder, plan(cell)):
        _score(cell, planned, loaded, calibration, workshop, watcher)
    metrics, clock.seconds["eval"] = read_scores(folder, plan(cell))
    overlaps = read_overlaps(folder, plan(cell))
    return {
        "schema": SCHEMA,
        "cell": cell.id,
        "name": cell.name,
        "axes": asdict(cell.axes),
        "dense_cell": cell.dense_id,
        "metrics": _earlier_metrics(folder) | metrics,
        "sparsity": describe_sparsity(loaded.model, reports),
        "linears": describe_linears(reports),
        "propagation": (propagated := propagation(config)) and propagated.value,
        "calib": _describe_calibration(calibration),
        "data": {"source": config.data.name.value, "root": config.data.root},
        "overlap": overlaps,
        "warnings": _warnings(config, submitted, differs, overlaps, {one.name: metrics[one.name] for one in plan(cell)}),
        "weights_sha256": sha256,
        "seconds": clock.rounded(),
        "peak_memory_mb": {"host": peak_host_memory_mb(), "device": peak_device_memory_mb(device)},
        "provenance": provenance(device, started, submitted) | describe_placement(config.model),
    }


def _calibration_set(cell: Cell, workshop: Workshop, watcher: Watcher) -> "CalibrationSet | None":
    if not uses_calibration(cell.config):
        return None
    from prune.calib.store import load_or_build

    watcher.stage("calib")
    config = cell.config
    source, tokenizer = workshop.source(config.data), workshop.tokenizer(config.model)
    return load_or_build(config.calib, config.prompt, config.data, config.model, source, tokenizer, Path(config.output_dir))


def _pruned(
    cell: Cell, loaded: "LoadedModel", calibration: "CalibrationSet | None", workshop: Workshop, watcher: Watcher
) -> "tuple[list[LinearReport], str, str | None]":
    """Bring a dense model to the cell's weights: from what was saved, or by pruning.

    Returns the reports, the hash of the weights, and a warning when earlier scores belong to weights of other bits.
    """
    from prune.cell.results import read_reports
    from prune.models.blocks import weights_sha256
    from prune.pruning.saved import MaskKeeper, restore_pruned
    from prune.pruning.sparsity import build_pattern

    folder, model = cell.folder(), loaded.model
    if isinstance(cell.config.method, DenseConfig):
        return [], weights_sha256(model), None
    earlier = (read_json(folder / "pruned.json") or {}).get("weights_sha256")
    if earlier is not None and restore_pruned(folder, model, earlier):
        log.info("the pruned weights were saved; they are used again")
        return read_reports(folder, build_pattern(cell.config.sparsity).ratio), earlier, None
    masks = MaskKeeper()
    keep_mask = masks if cell.config.save is Save.mask else (lambda block, name, mask_OI: None)
    reports = _prune(cell, model, calibration, workshop, watcher, keep_mask)
    sha256 = weights_sha256(model)
    _save(cell, loaded, masks, reports, calibration, sha256)
    write_json(folder / "pruned.json", {"weights_sha256": sha256})
    differs = (
        None
        if earlier in (None, sha256)
        else f"Pruned again, with other bits than earlier scores: {sha256[:12]}, not {earlier[:12]}."
    )
    return reports, sha256, differs


def _save(
    cell: Cell,
    loaded: "LoadedModel",
    masks: "MaskKeeper",
    reports: "Sequence[LinearReport]",
    calibration: "CalibrationSet | None",
    sha256: str,
) -> None:
    """Keep what `save` asks for."""
    from prune.cell.model_card import cell_facts, model_card
    from prune.pruning.linear_report import describe_linears, describe_sparsity
    from prune.pruning.saved import MASK_FILE, MODEL_FOLDER, save_mask, save_model

    if cell.config.save is Save.mask:
        dtype = str(loaded.model.dtype).removeprefix("torch.")
        about = {"cell": cell.id, "name": cell.name, "method": cell.axes.method, "weights_sha256": sha256, "dtype": dtype}
        save_mask(cell.folder() / MASK_FILE, masks, about)
    if cell.config.save is Save.model:
        sparsity, linears = describe_sparsity(loaded.model, reports), describe_linears(reports)
        facts = cell_facts(cell, sparsity, linears, calibration, sha256)
        save_model(cell.folder() / MODEL_FOLDER, loaded, model_card(cell.name, facts, cell.config.model))


def _prune(
    cell: Cell,
    model: Any,
    calibration: "CalibrationSet | None",
    workshop: Workshop,
    watcher: Watcher,
    on_mask: "Callable[[int, str, Tensor], None]",
) -> "list[LinearReport]":
    """Prune `model` in place as the cell says and keep blocks.jsonl; the reached sparsity is the asked one."""
    from prune.pruning.allocation import allocate
    from prune.pruning.layerwise import check_reached, prune_model
    from prune.pruning.registry import build_method

    if isinstance(cell.config.method, DenseConfig):
        return []
    watcher.stage("prune")
    method = build_method(cell.config.method)
    patterns = allocate(
        model,
        cell.config.method,
        cell.config.sparsity,
        calibration,
        batch_size=cell.config.batch_size,
        on_block=watcher.advance,
    )
    reports = prune_model(
        model,
        calibration.tokens_NL if calibration else None,
        calibration.mask_NL if calibration else None,
        method,
        patterns,
        batch_size=cell.config.batch_size,
        seed=cell.config.calib.seed,
        padding_in_statistics=calibration.padding_in_statistics if calibration else False,
        inputs=workshop.dense_passes.inputs(cell, model, calibration, watcher.advance) if calibration else None,
        on_block=watcher.advance,
        on_mask=on_mask,
    )
    check_reached(patterns, method, reports)
    write_text(cell.folder() / "blocks.jsonl", "".join(json.dumps(asdict(report)) + "\n" for report in reports))
    return reports


def _score(
    cell: Cell,
    planned: PlannedMetric,
    loaded: "LoadedModel",
    calibration: "CalibrationSet | None",
    workshop: Workshop,
    watcher: Watcher,
) -> None:
    from prune.eval.measure import measure

    watcher.stage(planned.name)
    begin, source = time.monotonic(), workshop.source(cell.config.data)
    measured = measure(
        planned,
        loaded.model,
        loaded.tokenizer,
        source,
        batch_size=cell.config.eval.batch_size,
        logits_chunk=cell.config.eval.logits_chunk,
        on_progress=watcher.advance,
    )
    folder, seconds = cell.folder(), time.monotonic() - begin
    if measured.items is not None:
        _write_items(folder / "items" / f"{file_name(planned.name)}.jsonl.gz", measured.items)
    beside = {name: metric.to_dict() for name, metric in measured.beside.items()}
    skipped = measured.metric.protocol.get("skipped_ids", ())
    overlap = _overlap(planned, calibration, loaded, source, skipped)
    write_score(folder, planned, measured.metric.to_dict(), seconds, beside, overlap)
    log.info("%s = %.4f", planned.name, measured.metric.value)


def _overlap(
    planned: PlannedMetric,
    calibration: "CalibrationSet | None",
    loaded: "LoadedModel",
    source: "Source",
    skipped: Sequence[int],
) -> dict[str, Any] | None:
    """What the items share with the calibration set; None without one. Rows that are gone cost no score."""
    if calibration is None:
        return None
    from prune.eval.contamination import measure_overlap

    try:
        return dict(measure_overlap(planned, calibration, source, loaded.tokenizer, skipped=skipped).to_dict())
    except UserError as error:
        log.warning("%s: what its items share with the calibration set is not known: %s", planned.name, error)
        return None


def _write_items(path: Path, items: Sequence[dict[str, Any]]) -> None:
    text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    write_whole(path, lambda stream: stream.write(gzip.compress(text.encode(), mtime=0)))


def _warnings(
    config: Config,
    submitted: CodeState | None,
    differs: str | None,
    overlaps: Mapping[str, Mapping[str, int]],
    metrics: Mapping[str, Any],
) -> list[str]:
    """What a reader of the result should know; `metrics` are those that were planned."""
    from prune.eval.contamination import Overlap
    from prune.eval.questions.window import describe_skipped

    sample = SAMPLE_NOTE if config.data.name is DataSource.sample else None
    dense = DENSE_NOTE if propagation(config) is Propagation.dense else None
    known = {name: Overlap(**counts) for name, counts in overlaps.items()}
    shared = [f"{name}: {overlap.describe()}" for name, overlap in known.items() if overlap.has_shared_items]
    some = (sample, dense, code_warning(submitted), differs, *describe_skipped(metrics), *shared)
    return [warning for warning in some if warning is not None]


def _earlier_metrics(folder: Path) -> dict[str, Any]:
    earlier = read_result(folder)
    return earlier["metrics"] if earlier else {}


def _describe_calibration(calibration: "CalibrationSet | None") -> dict[str, Any] | None:
    if calibration is None:
        return None
    keys = ("num_samples", "seq_len", "num_tokens", "num_real_tokens", "sha256")
    return {"id": calibration.id} | {key: calibration.manifest[key] for key in keys}


def _write_failure(folder: Path, error: BaseException) -> None:
    interrupted = isinstance(error, KeyboardInterrupt)
    try:
        write_status(folder, State.failed, "interrupted" if interrupted else f"{type(error).__name__}: {error}")
    except (OSError, UserError):
        log.error("status.json could not be written either")
