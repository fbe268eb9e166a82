"""How one cell runs: claim it, build its calibration set, prune block by block, score, keep the result."""

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from prune.calib.draw import not_disjoint
from prune.calib.questions import short_of_shots
from prune.cell.assembly import renewed_result
from prune.cell.cell import Cell, asked_config, check_unchanged
from prune.cell.dense_statistics import DENSE_NOTE
from prune.cell.folder import SCHEMA
from prune.cell.gpu import watch_gpu
from prune.cell.identity import propagation
from prune.cell.lock import claim
from prune.cell.log import Stopwatch, log, log_to
from prune.cell.memory import LOAD_ADVICE, PeakMemory, memory_errors, prune_advice, score_advice
from prune.cell.merging import average_parents, describe_merge, is_merged
from prune.cell.model_card import cell_facts, model_card
from prune.cell.model_sets import calibration_set
from prune.cell.provenance import CodeState, code_warning, describe_placement, provenance
from prune.cell.pruning import check_sparser, prune_by, prune_weights
from prune.cell.resources import Resources
from prune.cell.sets import describe_sets, reads_sample
from prune.cell.settle import finished, put_in_order
from prune.cell.slurm_queue import job_id
from prune.cell.state import State, write_status
from prune.cell.stops import stops_pass
from prune.cell.untold import without_rows
from prune.cell.watcher import Watcher
from prune.config.config import Save
from prune.config.data import SAMPLE_NOTE
from prune.config.drop import DropConfig
from prune.config.method import ExpertTokens, Propagation
from prune.data.privacy import private_rows
from prune.errors import UserError
from prune.eval.contamination import measure_overlap
from prune.eval.items import without_texts
from prune.eval.measure import measure
from prune.eval.metric import PlannedMetric
from prune.eval.subject import Subject
from prune.files import now, write_text
from prune.models.blocks import weights_sha256
from prune.models.device_lock import shared_device
from prune.models.fit import bos_note
from prune.models.load import resolve_device
from prune.pruning.linear_report import (
    LinearReport,
    describe_few_tokens,
    describe_linears,
    describe_preserved,
    describe_refit,
    describe_sparsity,
    describe_ties,
)
from prune.pruning.methods.dense import DenseConfig

if TYPE_CHECKING:
    from prune.calib.calibration_set import CalibrationSet
    from prune.models.load import LoadedModel
    from prune.pruning.propagation import Inputs
    from prune.pruning.saved import MaskKeeper


def describe_error(error: BaseException) -> str:
    """What status.json says of a failure."""
    return "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


def run_cell(
    cell: Cell,
    resources: Resources,
    watcher: Watcher,
    submitted: CodeState | None = None,
    describe: Callable[[BaseException], str] = describe_error,
) -> dict[str, Any]:
    """Bring one cell to its result and return result.json; do only what is missing.

    `submitted` is the code at the submission of the job that runs it; None outside a job. `describe` words a failure for
    status.json, which others may read at once.

    Raises:
        prune.cell.lock.CellHeldError: another living process works on it.
        Exception: whatever went wrong; status.json then says "failed" and run.log holds the traceback.
    """
    folder = cell.files
    try:
        with stops_pass(), claim(folder.path), log_to(folder.log), watch_gpu(folder.path), private_rows(cell.config.privacy):
            result = finished(cell)
            if result is None:
                result = CellRun(cell, resources, watcher, submitted, describe).run()
            put_in_order(cell, result)
            return result
    finally:
        resources.dense_passes.leave(cell)


class CellRun:
    """One run of a cell that this process has claimed, on the model, rows and tokenizer of `resources`."""

    _loaded: "LoadedModel"
    _calibration: "CalibrationSet | None"
    """None where pruning looks at no inputs."""
    _perplexity: float | None
    """Of the calibration set under the dense model."""

    def __init__(
        self,
        cell: Cell,
        resources: Resources,
        watcher: Watcher,
        submitted: CodeState | None,
        describe: Callable[[BaseException], str],
    ) -> None:
        self._cell, self._config, self._folder = cell, cell.config, cell.files
        self._resources, self._watcher, self._submitted = resources, watcher, submitted
        self._clock, self._started = Stopwatch(), now()
        self._describe = describe
        self._dropped: dict[str, Any] | None = None
        self._likelihoods: dict[tuple[bool, str, str], tuple[float, bool]] = {}

    def run(self) -> dict[str, Any]:
        """Do what is missing, write result.json and return it; after a failure status.json and run.log say so."""
        write_status(self._folder.path, State.running)
        try:
            with stops_pass():
                result = self._prune_and_score()
                self._folder.write_result(result)
            return result
        except BaseException as error:
            if isinstance(error, SystemExit) and job_id() is not None:
                log.info("the job goes back to the queue; the cell goes on from here")
                raise  # status.json keeps saying "running"
            told = without_rows(error) if self._config.privacy else error
            if isinstance(told, KeyboardInterrupt):
                log.info("interrupted; the same line goes on from here")
            else:
                log.error("failed\n%s", "".join(traceback.format_exception(told)))
            self._write_failure(told)
            if told is error:
                raise
            raise told from None

    def _prune_and_score(self) -> dict[str, Any]:
        cell, folder, device = self._cell, self._folder, resolve_device(self._config.device)
        log.info("cell %s %s on %s", cell.id, cell.name, device)
        damage = folder.find_damage(cell.scores)
        for each in damage:
            log.warning("%s", each)
        write_text(folder.config, OmegaConf.to_yaml({"canonical": cell.canonical, "asked": asked_config(cell)}))
        with shared_device(device), PeakMemory(device) as memory:
            self._load(device)
            self._perplexity = self._set_perplexity()
            with memory_errors("pruning", prune_advice(self._config)):
                reports, sha256 = self._pruned()
            for planned in folder.missing_scores(cell.scores):
                with memory_errors(f"measuring {planned.name}", score_advice(self._config)):
                    self._score(planned, sha256)
        self._clock.seconds["eval"] = sum(score["seconds"] for score in folder.read_scores(cell.scores))
        facts = self._facts(reports) | {
            "weights_sha256": sha256,
            "seconds": self._clock.rounded(),
            "peak_memory_mb": memory.read(),
            "provenance": provenance(device, self._started, self._submitted) | describe_placement(self._config.model),
        }
        return renewed_result(folder, cell.scores, facts, [*self._warnings(reports), *damage])

    def _load(self, device: str) -> None:
        """Bring the calibration set and the dense model, and make sure that they are those that the cell's id names."""
        with self._clock("calib"):
            self._calibration = self._calibration_set()
        self._watcher.stage("load")
        with self._clock("load"), memory_errors(f"loading model {self._config.model.name}", LOAD_ADVICE):
            self._loaded = self._resources.dense_model(self._config.model, device)
        for note in self._loaded.notes:
            log.warning("%s", note)
        check_unchanged(self._cell)
        check_sparser(self._config, self._loaded)

    def _calibration_set(self) -> "CalibrationSet | None":
        recipe = self._cell.recipe
        return None if recipe is None else calibration_set(self._cell, recipe, self._resources, self._watcher)

    def _set_perplexity(self) -> float | None:
        """The perplexity of the calibration set under the dense model, which is loaded; None without a set."""
        from prune.cell.dense_perplexity import kept_at, set_perplexity

        calibration, config = self._calibration, self._config
        if calibration is None:
            return None
        path = kept_at(self._cell.output_dir / "calib" / calibration.id, config.model)
        with self._clock("calib"), memory_errors("measuring the calibration set", prune_advice(config)):
            return set_perplexity(path, self._loaded.model, calibration)

    def _pruned(self) -> tuple[list[LinearReport], str]:
        """Bring the dense model to the cell's weights, from what was saved or by pruning, and save what is asked for.

        Returns the reports and the hash of the weights.
        """
        from prune.pruning.saved import MaskKeeper, check_space

        folder, model, save = self._folder, self._loaded.model, self._config.save
        if isinstance(self._config.method, DenseConfig):
            return [], weights_sha256(model)
        if isinstance(self._config.sparsity, DropConfig):
            return self._dropped_parts()
        if not folder.is_saved(save):
            check_space(folder.path, model, save)
        masks, saved = MaskKeeper(), set[str]()
        record = self._restore()
        if record is not None:
            log.info("the pruned weights were saved; they are used again")
            reports, sha256 = folder.read_reports(), str(record["weights_sha256"])
            saved = {*record["saved"], *([Save.mask.value] if save is Save.mask else [])}
            self._clock.seconds |= record["seconds"]
        else:
            with self._clock("prune"):
                reports = self._prune(masks)
                sha256 = weights_sha256(model)
        if save is not Save.none and save.value not in saved:
            self._save(masks, reports, sha256)
            saved |= {save.value}
        seconds = self._clock.rounded()
        folder.write_pruned(sha256, sorted(saved), {stage: seconds[stage] for stage in ("calib", "prune")})
        return reports, sha256

    def _dropped_parts(self) -> tuple[list[LinearReport], str]:
        """Go on with a model without some parts of the dense one, chosen now unless they are known; see `_pruned`."""
        from prune.cell.dropping import choose_parts, drop_parts, save_smaller
        from prune.pruning.saved import check_space

        folder, save, record = self._folder, self._config.save, self._folder.read_pruned()
        calibration = self._calibration
        self._watcher.stage("prune")
        with self._clock("prune"):
            known = record and record.get("dropped")
            self._dropped = known or choose_parts(self._config, self._loaded, calibration, self._watcher.advance)
            self._loaded, reports = drop_parts(self._config, self._loaded, self._dropped, calibration)
            sha256 = weights_sha256(self._loaded.model)
        if record and known:
            self._clock.seconds |= record["seconds"]
        folder.write_reports(reports)
        saved = set(record["saved"]) if record else set()
        if not folder.is_saved(save):
            check_space(folder.path, self._loaded.model, save)
            save_smaller(self._cell, self._loaded, reports, self._dropped, calibration, sha256)
            saved.add(save.value)
        seconds = self._clock.rounded()
        folder.write_pruned(sha256, sorted(saved), {stage: seconds[stage] for stage in ("calib", "prune")}, self._dropped)
        return reports, sha256

    def _restore(self) -> dict[str, Any] | None:
        """Give the model the weights in the folder, and return pruned.json; None where they do not suffice for `save`.

        A mask cannot be told from weights, as some may have been 0 before: for save=mask there must be one.
        """
        from prune.pruning.saved import restore_pruned

        record = self._folder.read_pruned()
        source = Save.mask if self._config.save is Save.mask else Save.none
        with self._clock("load"):
            if record and restore_pruned(self._folder.path, self._loaded.model, record["weights_sha256"], source):
                return record
        return None

    def _prune(self, masks: "MaskKeeper") -> list[LinearReport]:
        """Prune the model in place as the cell says and write blocks.jsonl; the reached sparsity is the asked one."""
        self._watcher.stage("prune")
        config, model, calibration = self._config, self._loaded.model, self._calibration
        on_mask = masks if config.save is Save.mask else (lambda block, name, mask_OI: None)
        watched: dict[str, Any] = {"on_block": self._watcher.advance, "on_mask": on_mask}
        if is_merged(self._cell):
            reports = prune_by(config, model, average_parents(self._cell, model), calibration, **watched)
        else:
            reports = prune_weights(config, model, calibration, self._dense_inputs, **watched)
        self._folder.write_reports(reports)
        return reports

    def _dense_inputs(self, calibration: "CalibrationSet") -> "Inputs | None":
        """The statistics of the dense model, which cells of this process share; None where blocks see pruned ones."""
        return self._resources.dense_passes.inputs(self._cell, self._loaded.model, calibration, self._watcher.advance)

    def _save(self, masks: "MaskKeeper", reports: Sequence[LinearReport], sha256: str) -> None:
        """Keep what `save` asks for."""
        from prune.pruning.saved import save_mask, save_model

        cell, loaded, save = self._cell, self._loaded, self._config.save
        if save is Save.mask:
            dtype = str(loaded.model.dtype).removeprefix("torch.")
            about = {"cell": cell.id, "name": cell.name, "method": cell.axes.method, "weights_sha256": sha256}
            save_mask(self._folder.saved(save), masks, about | {"dtype": dtype})
        if save is Save.model:
            sparsity, linears = describe_sparsity(loaded.model, reports), describe_linears(reports)
            facts = cell_facts(cell, sparsity, linears, self._calibration, sha256)
            save_model(self._folder.saved(save), loaded, model_card(cell.name, facts, cell.config.model))

    def _score(self, planned: PlannedMetric, sha256: str) -> None:
        """Measure one score on the weights with this hash, and write it with its items."""
        self._watcher.stage(planned.name)
        begin, loaded, config = time.monotonic(), self._loaded, self._config
        advance = self._watcher.advance
        limits = (config.eval.batch_size, config.eval.logits_chunk)
        subject = Subject(loaded.model, loaded.tokenizer, *limits, advance, self._likelihoods)
        measured = measure(planned, subject, self._resources.source(config.data))
        seconds = time.monotonic() - begin
        items = [without_texts(item) for item in measured.items] if config.privacy else measured.items
        self._folder.write_items(planned, items)
        check_unchanged(self._cell)
        beside = {name: metric.to_dict() for name, metric in measured.beside.items()}
        overlap = self._overlap(planned, measured.metric.protocol.get("skipped_ids", ()))
        self._folder.write_score(planned, measured.metric.to_dict(), seconds, beside, overlap, sha256)
        log.info("%s = %.4f", planned.name, measured.metric.value)

    def _overlap(self, planned: PlannedMetric, skipped: Sequence[int]) -> dict[str, Any] | None:
        """What the items share with the calibration set; None without one. Rows that are gone cost no score."""
        if self._calibration is None or not planned.data:
            return None
        source, tokenizer = self._resources.source(self._config.data), self._loaded.tokenizer
        try:
            return dict(measure_overlap(planned, self._calibration, source, tokenizer, skipped=skipped).to_dict())
        except UserError as error:
            log.warning("%s: what its items share with the calibration set is not known: %s", planned.name, error)
            return None

    def _facts(self, reports: Sequence[LinearReport]) -> dict[str, Any]:
        """What result.json says of the cell and its weights."""
        cell, propagated = self._cell, propagation(self._config)
        return {
            "schema": SCHEMA,
            "cell": cell.id,
            "name": cell.name,
            "axes": asdict(cell.axes),
            "dense_cell": cell.dense_id,
            "sparsity": describe_sparsity(self._loaded.model, reports) | {"zero_before": self._loaded.share_zero},
            "model": {"notes": list(self._loaded.notes)},
            "linears": describe_linears(reports),
            "reconstruct": describe_refit(reports),
            "propagation": propagated and propagated.value,
            "calib": _describe_calibration(self._calibration, self._perplexity),
            "data": {"source": self._config.data.name.value, "root": self._config.data.root},
            "sets": describe_sets(cell),
            **describe_merge(cell),
            **({"dropped": self._dropped} if self._dropped else {}),
        }

    def _warnings(self, reports: Sequence[LinearReport]) -> list[str]:
        """What a reader should know of the cell, besides its scores."""
        warnings = [
            SAMPLE_NOTE if reads_sample(self._cell) else None,
            DENSE_NOTE if propagation(self._config) is Propagation.dense else None,
            bos_note(self._config.model, self._config.eval.bos) if self._config.eval.perplexity else None,
            code_warning(self._submitted),
            describe_preserved(reports),
            describe_ties(reports),
            describe_few_tokens(reports) if self._config.method.experts is ExpertTokens.routed else None,
            *(told(self._calibration.manifest) for told in (not_disjoint, short_of_shots) if self._calibration),
            *self._loaded.notes,
        ]
        return [warning for warning in warnings if warning is not None]

    def _write_failure(self, error: BaseException) -> None:
        try:
            write_status(self._folder.path, State.failed, self._describe(error))
        except (OSError, UserError):
            log.error("status.json could not be written either")


def _describe_calibration(calibration: "CalibrationSet | None", perplexity: float | None) -> dict[str, Any] | None:
    from prune.calib.manifest import sequences_sha256

    if calibration is None:
        return None
    keys = ("num_samples", "seq_len", "num_tokens", "num_real_tokens", "tokens_sha256")
    sequences = sequences_sha256(calibration.tokens_NL, calibration.real_NL)
    seconds = {"seconds": dict(calibration.seconds)} if calibration.seconds else {}
    measured = {"dense_perplexity": perplexity, **calibration.manifest.get("diversity", {})}
    described = {"id": calibration.id} | {key: calibration.manifest[key] for key in keys}
    return described | {"sequences_sha256": sequences} | measured | seconds
