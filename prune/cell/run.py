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

from prune.cell.cell import Cell, asked_config, check_unchanged, plan
from prune.cell.dense_statistics import DENSE_NOTE
from prune.cell.gpu import watch_gpu
from prune.cell.identity import propagation
from prune.cell.lock import claim
from prune.cell.log import Stopwatch, log, log_to
from prune.cell.memory import LOAD_ADVICE, PeakMemory, memory_errors, prune_advice, score_advice
from prune.cell.provenance import CodeState, code_warning, describe_placement, provenance
from prune.cell.resources import Workshop
from prune.cell.results import (
    BLOCKS_FILE,
    SCHEMA,
    find_damage,
    is_saved,
    items_path,
    missing_scores,
    read_pruned,
    read_scores,
    renewed_result,
    write_pruned,
    write_result,
    write_score,
)
from prune.cell.settle import finished, put_in_order
from prune.cell.slurm_queue import job_id
from prune.cell.state import State, write_status
from prune.cell.watcher import Watcher
from prune.config.config import Config, Save
from prune.config.data import SAMPLE_NOTE, DataSource
from prune.config.method import Propagation
from prune.errors import UserError
from prune.eval.metric import PlannedMetric
from prune.files import now, write_text, write_whole
from prune.models.fit import bos_note
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
    try:
        with claim(folder), log_to(folder / "run.log"), watch_gpu(folder):
            result = finished(cell)
            if result is None:
                result = _run_claimed(cell, workshop, watcher, submitted)
            put_in_order(cell, result)
            return result
    finally:
        workshop.dense_passes.leave(cell)


def _run_claimed(cell: Cell, workshop: Workshop, watcher: Watcher, submitted: CodeState | None) -> dict[str, Any]:
    """Do what is missing of a cell that this process has claimed, and write result.json."""
    folder = cell.folder()
    write_status(folder, State.running)
    try:
        result = _prune_and_score(cell, workshop, watcher, submitted)
        write_result(folder, result)
        return result
    except BaseException as error:
        if isinstance(error, SystemExit) and job_id() is not None:
            log.info("the job goes back to the queue; the cell goes on from here")
            raise  # status.json keeps saying "running"
        log.error("failed\n%s", traceback.format_exc())
        _write_failure(folder, error)
        raise


def _prune_and_score(cell: Cell, workshop: Workshop, watcher: Watcher, submitted: CodeState | None) -> dict[str, Any]:
    from prune.pruning.linear_report import describe_ties

    started, clock = now(), Stopwatch()
    config, folder = cell.config, cell.folder()
    device = resolve_device(config.device)
    log.info("cell %s %s on %s", cell.id, cell.name, device)
    damage = find_damage(folder, plan(cell))
    for each in damage:
        log.warning("%s", each)
    write_text(folder / "config.yaml", OmegaConf.to_yaml({"canonical": cell.canonical, "asked": asked_config(cell)}))
    with PeakMemory(device) as memory:
        with clock("calib"):
            calibration = _calibration_set(cell, workshop, watcher)
        watcher.stage("load")
        with clock("load"), memory_errors(f"loading model {config.model.name}", LOAD_ADVICE):
            loaded = workshop.dense_model(config.model, device)
        for note in loaded.notes:
            log.warning("%s", note)
        check_unchanged(cell)
        with memory_errors("pruning", prune_advice(config)):
            reports, sha256 = _pruned(cell, loaded, calibration, workshop, watcher, clock)
        for planned in missing_scores(folder, plan(cell)):
            with memory_errors(f"measuring {planned.name}", score_advice(config)):
                _score(cell, planned, loaded, calibration, workshop, watcher, sha256)
    _, clock.seconds["eval"] = read_scores(folder, plan(cell))
    facts = _facts(cell, loaded, reports, calibration) | {
        "weights_sha256": sha256,
        "seconds": clock.rounded(),
        "peak_memory_mb": memory.read(),
        "provenance": provenance(device, started, submitted) | describe_placement(config.model),
    }
    warnings = [*_warnings(config), code_warning(submitted), describe_ties(reports), *loaded.notes, *damage]
    return renewed_result(folder, plan(cell), facts, [warning for warning in warnings if warning is not None])


def _facts(
    cell: Cell, loaded: "LoadedModel", reports: "Sequence[LinearReport]", calibration: "CalibrationSet | None"
) -> dict[str, Any]:
    """What result.json says of the cell and its weights."""
    from prune.pruning.linear_report import describe_linears, describe_sparsity

    propagated = propagation(cell.config)
    return {
        "schema": SCHEMA,
        "cell": cell.id,
        "name": cell.name,
        "axes": asdict(cell.axes),
        "dense_cell": cell.dense_id,
        "sparsity": describe_sparsity(loaded.model, reports) | {"zero_before": loaded.share_zero},
        "model": {"notes": list(loaded.notes)},
        "linears": describe_linears(reports),
        "propagation": propagated and propagated.value,
        "calib": _describe_calibration(calibration),
        "data": {"source": cell.config.data.name.value, "root": cell.config.data.root},
    }


def _calibration_set(cell: Cell, workshop: Workshop, watcher: Watcher) -> "CalibrationSet | None":
    if cell.recipe is None:
        return None
    from prune.calib.store import load_or_build

    watcher.stage("calib")
    config = cell.config
    source, tokenizer = workshop.source(config.data), workshop.tokenizer(config.model)
    return load_or_build(cell.recipe, source, tokenizer, cell.output_dir)


def _pruned(
    cell: Cell,
    loaded: "LoadedModel",
    calibration: "CalibrationSet | None",
    workshop: Workshop,
    watcher: Watcher,
    clock: "Stopwatch",
) -> "tuple[list[LinearReport], str]":
    """Bring a dense model to the cell's weights, from what was saved or by pruning, and save what is asked for.

    Returns the reports and the hash of the weights.
    """
    from prune.cell.results import read_reports
    from prune.models.blocks import weights_sha256
    from prune.pruning.saved import MaskKeeper, check_space

    folder, model, save = cell.folder(), loaded.model, cell.config.save
    if isinstance(cell.config.method, DenseConfig):
        return [], weights_sha256(model)
    if not is_saved(folder, save):
        check_space(folder, model, save)
    masks, kept = MaskKeeper(), read_pruned(folder)
    with clock("load"):
        is_restored = kept is not None and _restored(folder, loaded, save, kept)
    if is_restored and kept is not None:
        log.info("the pruned weights were saved; they are used again")
        reports, sha256 = read_reports(folder), kept["weights_sha256"]
        saved = {*kept["saved"], *([Save.mask.value] if save is Save.mask else [])}
        clock.seconds |= kept["seconds"]
    else:
        keep_mask = masks if save is Save.mask else (lambda block, name, mask_OI: None)
        with clock("prune"):
            reports = _prune(cell, model, calibration, workshop, watcher, keep_mask)
            sha256, saved = weights_sha256(model), set[str]()
    if save is not Save.none and save.value not in saved:
        _save(cell, loaded, masks, reports, calibration, sha256)
        saved |= {save.value}
    write_pruned(folder, sha256, sorted(saved), {stage: clock.rounded()[stage] for stage in ("calib", "prune")})
    return reports, sha256


def _restored(folder: Path, loaded: "LoadedModel", save: Save, kept: Mapping[str, Any]) -> bool:
    """Give the model the weights that lie in the folder; False where there are none, or they do not do for `save`.

    A mask cannot be told from weights, as some may have been 0 before: for save=mask there must be one.
    """
    from prune.pruning.saved import restore_pruned

    source = Save.mask if save is Save.mask else Save.none
    return restore_pruned(folder, loaded.model, kept["weights_sha256"], source)


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
    dense_inputs = workshop.dense_passes.inputs(cell, model, calibration, watcher.advance) if calibration else None
    reports = prune_model(
        model,
        dense_inputs or calibration,
        method,
        patterns,
        batch_size=cell.config.batch_size,
        seed=cell.config.calib.seed,
        on_block=watcher.advance,
        on_mask=on_mask,
    )
    check_reached(patterns, method, reports)
    write_text(cell.folder() / BLOCKS_FILE, "".join(json.dumps(asdict(report)) + "\n" for report in reports))
    return reports


def _score(
    cell: Cell,
    planned: PlannedMetric,
    loaded: "LoadedModel",
    calibration: "CalibrationSet | None",
    workshop: Workshop,
    watcher: Watcher,
    weights_sha256: str,
) -> None:
    from prune.eval.measure import measure
    from prune.eval.subject import Subject

    watcher.stage(planned.name)
    begin, source = time.monotonic(), workshop.source(cell.config.data)
    config = cell.config.eval
    subject = Subject(loaded.model, loaded.tokenizer, config.batch_size, config.logits_chunk, watcher.advance)
    measured = measure(planned, subject, source)
    folder, seconds = cell.folder(), time.monotonic() - begin
    if measured.items is not None:
        _write_items(items_path(folder, planned), measured.items)
    check_unchanged(cell)
    beside = {name: metric.to_dict() for name, metric in measured.beside.items()}
    skipped = measured.metric.protocol.get("skipped_ids", ())
    overlap = _overlap(planned, calibration, loaded, source, skipped)
    write_score(folder, planned, measured.metric.to_dict(), seconds, beside, overlap, weights_sha256)
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


def _warnings(config: Config) -> list[str | None]:
    """What a reader should know of a cell from its configuration."""
    sample = SAMPLE_NOTE if config.data.name is DataSource.sample else None
    bos = bos_note(config.model, config.eval.bos) if config.eval.perplexity else None
    return [sample, DENSE_NOTE if propagation(config) is Propagation.dense else None, bos]


def _describe_calibration(calibration: "CalibrationSet | None") -> dict[str, Any] | None:
    if calibration is None:
        return None
    keys = ("num_samples", "seq_len", "num_tokens", "num_real_tokens", "tokens_sha256")
    return {"id": calibration.id} | {key: calibration.manifest[key] for key in keys}


def _write_failure(folder: Path, error: BaseException) -> None:
    interrupted = isinstance(error, KeyboardInterrupt)
    try:
        write_status(folder, State.failed, "interrupted" if interrupted else f"{type(error).__name__}: {error}")
    except (OSError, UserError):
        log.error("status.json could not be written either")
