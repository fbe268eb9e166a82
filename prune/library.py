"""prune in a notebook: open a model, make a calibration set, prune, score. Cells do the same, by the same code.

Every call takes the words of the command line (`calib=gsm8k`, `sparsity=2to4`): whatever a line can ask for can be asked for
here, and the same words give the same calibration set, weights and scores.
"""

import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune.cell.dropping import choose_parts, drop_parts
from prune.cell.identity import recipe_of, uses_calibration
from prune.cell.pruning import own_dense_inputs, prune_weights
from prune.cell.resources import Resources
from prune.config.config import Config
from prune.config.drop import DropConfig
from prune.config.folders import CONFIG_DIR
from prune.errors import UserError, interruptions
from prune.eval.measure import measure
from prune.eval.metric import Metric
from prune.eval.plan import plan_metrics
from prune.eval.subject import Subject
from prune.messages.cli import explain
from prune.models.load import resolve_device
from prune.pruning.linear_report import LinearReport
from prune.pruning.methods.dense import DenseConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from prune.calib.calibration_set import CalibrationSet


class Model:
    """A model in memory: dense as it was opened, pruned after `prune`, dense again after `restore`."""

    def __init__(self, *words: str) -> None:
        """Open the model that the words name, dense.

        Args:
            words: as on the command line: `model=hf`, `model.path=FOLDER`, `device=cuda`, and words that hold for all calls,
            such as `data=hub`. Without words: the embedded model on sample data.

        Raises:
            UserError: a word is wrong, or the model cannot be loaded.
        """
        self._words = words
        self._resources = Resources()
        self.restore()

    @property
    def model(self) -> "PreTrainedModel":
        """The model of transformers as it is at present, in evaluation mode."""
        return self._loaded.model

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The model's own tokenizer."""
        return self._loaded.tokenizer

    def restore(self) -> None:
        """Give the model its dense weights back, bit for bit."""
        config = _compose(self._words)
        self._loaded = self._dense = self._resources.dense_model(config.model, resolve_device(config.device))
        self._is_dense = True

    def calibration_set(self, *words: str) -> "CalibrationSet":
        """The calibration set that the words ask for: N x L token ids, which of them are real, what each counts, a manifest.

        Args:
            words: `calib=gsm8k`, `prompt=cot`, `calib.num_samples=16`, `select=zipf`, `data=local`, ... With
                `output_dir=DIR` it is kept there, beside those of the cells, and taken from there the next time.

        Raises:
            NotApplicableError: the words are sound, but mean nothing together.
            UserError: a word is wrong, there are too few rows, or the set needs the dense model and the model is pruned.
        """
        from prune.calib.store import load_or_build

        config = self._config(words)
        recipe = recipe_of(replace(config, method=_looking()))
        assert recipe is not None, "Wanda looks at inputs"
        if recipe.needs_model and not self._is_dense:
            raise UserError("The dense model makes this calibration set, and the model is pruned. Call restore() before.")
        source = self._resources.source(config.data)
        with _kept_in(config, words) as folder:
            return load_or_build(recipe, source, self.tokenizer, folder, lambda: self._dense.model)

    def prune(self, calibration: "CalibrationSet | None" = None, *words: str) -> list[LinearReport]:
        """Prune the dense model in place and return a report for each linear of its blocks.

        With `sparsity=blocks` or `sparsity=experts` the dense model stays, and `model` is a smaller one.

        Args:
            calibration: what pruning watches activations on; None for methods that look at no inputs.
            words: `method=wanda`, `sparsity=2to4`, `sparsity.ratio=0.6`, `weight=attention`, `reconstruct=block`, ...

        Raises:
            UserError: a word is wrong, the model is pruned already, or method, model and calibration set do not fit.
        """
        config = self._config(words)
        self._check_prunable(config, calibration)
        self._is_dense = False
        if isinstance(config.sparsity, DropConfig):
            dropped = choose_parts(config, self._loaded, calibration, _unwatched)
            self._loaded, reports = drop_parts(config, self._loaded, dropped, calibration)
            return reports
        inputs = partial(own_dense_inputs, config, self.model)
        return prune_weights(config, self.model, calibration, inputs, on_block=_unwatched, on_mask=_unwatched)

    def score(self, *words: str) -> dict[str, Metric]:
        """Name -> score of the model as it is, with its standard error, unit and protocol.

        Args:
            words: `eval=small`, `eval.perplexity=[wikitext2]`, `eval.tasks=[gsm8k]`, `eval.limit=100`, `data=local`, ...

        Raises:
            UserError: a word is wrong, or rows are missing.
        """
        config = self._config(words)
        source = self._resources.source(config.data)
        limits = (config.eval.batch_size, config.eval.logits_chunk)
        subject = Subject(self.model, self.tokenizer, *limits)
        scores: dict[str, Metric] = {}
        for planned in plan_metrics(config.eval, config.data):
            measured = measure(planned, subject, source)
            scores |= {planned.name: measured.metric, **measured.beside}
        return scores

    def _config(self, words: Sequence[str]) -> Config:
        """The configuration of a call; the words that opened the model hold here too.

        Raises:
            UserError: a word is wrong, or names another model.
        """
        for word in words:
            if word.partition("=")[0].partition(".")[0] in ("model", "device"):
                raise UserError(f"{word} is given when the model is opened, as in Model({word!r}).")
        return _compose((*self._words, *words))

    def _check_prunable(self, config: Config, calibration: "CalibrationSet | None") -> None:
        if not self._is_dense:
            raise UserError("The model is pruned already. Call restore() for its dense weights.")
        if isinstance(config.method, DenseConfig):
            raise UserError("method=dense prunes nothing. Name a method, as in method=wanda.")
        if calibration is None and uses_calibration(config):
            raise UserError(
                f"method={config.method.name} watches activations on a calibration set, and none was given. Make one with "
                "calibration_set(), or give method=magnitude."
            )


def _compose(words: Sequence[str]) -> Config:
    """The typed configuration of a line of these words.

    Raises:
        UserError: a word is wrong.
    """
    from hydra import compose, initialize_config_dir

    from prune.config.folders import user_folders
    from prune.messages.line_checks import check_line
    from prune.sweep.compose import to_config
    from prune.sweep.grid import check_pairs
    from prune.sweep.own_sets import own_sets, with_own_sets
    from prune.sweep.schemas import register_schemas

    register_schemas()
    check_line(words)
    try:
        with interruptions(), initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            composed = to_config(compose("config", overrides=list(words)))
    except Exception as error:
        message = explain(error, [CONFIG_DIR])
        if message is None:
            raise
        raise UserError(message) from error
    config = with_own_sets(composed, own_sets(user_folders()))
    check_pairs(config)
    return config


@contextmanager
def _kept_in(config: Config, words: Sequence[str]) -> "Iterator[Path]":
    """The folder that a calibration set is kept in: the named one, or a temporary one."""
    if any(word.startswith("output_dir=") for word in words):
        yield Path(config.output_dir)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _looking() -> Any:
    from prune.pruning.methods.wanda import WandaConfig

    return WandaConfig()


def _unwatched(*told: object) -> None:
    """Do nothing with progress that nobody watches."""
