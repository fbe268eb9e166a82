"""lm-eval's tasks and what its aggregations mean: with lm.py the edge to lm_eval, whose import takes seconds."""

import inspect
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import lm_eval.api.task
import transformers
from lm_eval.api import metrics
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from prune.eval.engine.lm import PrefixLM

LM_EVAL_VERSION = str(lm_eval.__version__)

FEWSHOT_SEED = 1234
"""lm-eval's default, with which it draws the exemplars of each item."""

Sample = dict[str, Any]
"""What lm-eval logs of one item and filter."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A task with what the model said to it."""

    task: Any
    results: Mapping[str, Any]
    """`<metric>,<filter>` -> value."""
    samples: list[Sample]
    """One for each item and filter."""

    def values(self, metric: str, filter_name: str) -> list[Any]:
        """What the items add to a metric."""
        return [sample[metric] for sample in self.samples if sample["filter"] == filter_name and metric in sample["metrics"]]


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How the values of items become a metric."""

    run: Callable[[Any], Any]
    is_mean: bool
    """Of the plain values, arithmetic."""
    is_log: bool
    """The exponential of a mean."""
    is_weighted: bool
    """Each item has (sum, weight)."""
    factor: float
    """What makes the log-likelihood of an item a loss in the metric's unit; 1 of other values."""


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, lm-eval, transformers and `datasets` draw no bars and say errors only."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets")]
    levels, verbosity = [logger.level for logger in loggers], transformers.logging.get_verbosity()
    hid_bars, bar = datasets.utils.are_progress_bars_disabled(), lm_eval.api.task.tqdm
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    lm_eval.api.task.tqdm = lambda docs, **kwargs: docs
    try:
        yield
    finally:
        lm_eval.api.task.tqdm = bar
        if not hid_bars:
            datasets.enable_progress_bars()
        transformers.logging.set_verbosity(verbosity)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def make_task(name: str, prompts: Mapping[int, str], how_answered: Mapping[str, Any]) -> Any:
    """The task that asks `prompts`, whose documents have the key of their prompt as `id`. It scores nothing itself."""
    docs = datasets.Dataset.from_list([{"id": key, "prompt": prompt} for key, prompt in prompts.items()])
    config = {
        "task": name,
        "custom_dataset": lambda: {"items": docs},
        "test_split": "items",
        "doc_to_text": lambda doc: doc["prompt"],
        "doc_to_target": lambda doc: "",
        "num_fewshot": 0,
        "process_results": lambda doc, replies: {"asked": 1.0},
        "metric_list": [{"metric": "asked", "aggregation": "mean", "higher_is_better": True}],
    }
    with quiet():
        return ConfigurableTask(config=config | dict(how_answered))


def load_task(name: str, folder: Path, rows: Any, num_fewshot: int) -> Any:
    """One of lm-eval's own tasks, defined in `folder`, on rows by split."""
    member = {"task": name, "custom_dataset": lambda **_: rows, "num_fewshot": num_fewshot}
    task = _manager(folder).load({"group": "prune", "task": [member]})["tasks"][name]
    task.set_fewshot_seed(FEWSHOT_SEED)
    for metric, aggregate in task.aggregation().items():
        if aggregate is not metrics.mean:
            task.aggregation()[metric] = _finite(aggregate)
    return task


def evaluate_task(lm: PrefixLM, task: Any, limit: int | None = None) -> Evaluated:
    """What lm-eval makes of the model's replies to a task."""
    name = task.config.task
    with quiet():
        report = evaluate(lm, {"tasks": {name: task}, "groups": {}}, limit=limit, bootstrap_iters=0, log_samples=True)
    return Evaluated(task, report["results"][name], report["samples"][name])


def find_aggregation(task: Any, metric: str) -> Aggregation:
    """The aggregation of one of a task's metrics; lm-eval's mean where it names none."""
    run = task.aggregation().get(metric, metrics.mean)
    own = inspect.unwrap(run)
    factors = {metrics.perplexity: -1.0, metrics.weighted_perplexity: -1.0, metrics.bits_per_byte: -1.0 / math.log(2)}
    return Aggregation(
        run=run,
        is_mean=own is metrics.mean,
        is_log=own in (metrics.perplexity, metrics.weighted_perplexity),
        is_weighted=own in (metrics.weighted_perplexity, metrics.bits_per_byte),
        factor=factors.get(own, 1.0),
    )


@cache
def _manager(folder: Path) -> TaskManager:
    """lm-eval's manager of the tasks in one folder; of all of them it takes ten seconds and more."""
    return TaskManager(include_path=str(folder), include_defaults=False)


def _finite(aggregate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The aggregation, with the largest float for a perplexity that exceeds it: JSON has no infinity."""

    @wraps(aggregate)
    def run(values: Any) -> Any:
        try:
            return aggregate(values)
        except OverflowError:
            return sys.float_info.max

    return run
