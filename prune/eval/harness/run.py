"""lm-eval's own tasks by its own definitions, answered by prune/eval/engine/lm.py. Importing lm_eval takes seconds.

Prompts, filters, metrics and their aggregation are lm-eval's; only the rows come from the source (harness_data.py). The
exemplars of a prompt are drawn anew for each item, with the seed that lm-eval's command line has.
"""

import inspect
import logging
import math
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any

import datasets
import lm_eval
import lm_eval.api.metrics
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from prune.data.sources.source import Source
from prune.errors import UserError
from prune.eval.engine.bos import choose_prompt_bos
from prune.eval.engine.lm import PrefixLM, quiet
from prune.eval.harness.index import Definition, name_metric, read_definition
from prune.eval.harness.rows import Place, Rows, find_place, read_hub, read_split
from prune.eval.harness.settings import HarnessSettings
from prune.eval.metric import ACCURACY, ItemColumn, Measured, Metric, mean, mean_stderr

FEWSHOT_SEED = 1234
"""lm-eval's default."""

NUM_RESAMPLES = 200
"""Sets of items drawn with replacement for the standard error of a metric that is no mean."""

CHOICE_METRICS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")

UNITS = {
    **dict.fromkeys(CHOICE_METRICS, ACCURACY),
    "perplexity": "perplexity per answer",
    "word_perplexity": "perplexity per word",
    "byte_perplexity": "perplexity per byte",
    "bits_per_byte": "bits per byte",
    "bleu": "BLEU",
    "chrf": "chrF",
    "ter": "TER",
}
"""lm-eval's metrics -> the unit of their scores; any other metric is a unit of its own."""

LOGLIKELIHOOD_AGGREGATIONS = {
    lm_eval.api.metrics.perplexity: -1.0,
    lm_eval.api.metrics.weighted_perplexity: -1.0,
    lm_eval.api.metrics.bits_per_byte: -1.0 / math.log(2),
}
"""Means of log-likelihoods -> the factor that makes a log-likelihood a loss in the metric's unit."""
LOG_AGGREGATIONS = (lm_eval.api.metrics.perplexity, lm_eval.api.metrics.weighted_perplexity)
WEIGHTED_AGGREGATIONS = (lm_eval.api.metrics.weighted_perplexity, lm_eval.api.metrics.bits_per_byte)
PLAIN_AGGREGATIONS = (lm_eval.api.metrics.mean, lm_eval.api.metrics.perplexity)

Sample = dict[str, Any]
"""What lm-eval logs of one item and filter."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One item as its definition renders it."""

    text: str | int
    target: Any
    choices: list[str] | None

    @property
    def question(self) -> str:
        """The text that is scored or answered, without exemplars; where each choice makes a text of its own, all of them."""
        if isinstance(self.text, str) and self.text:
            return self.text
        return "\n".join([*(self.choices or []), str(self.target)])


def measure_harness(
    settings: HarnessSettings,
    source: Source,
    model: Any,
    tokenizer: Any,
    *,
    batch_size: int,
    on_progress: Callable[[int, int], None],
) -> Measured:
    """The first metric of one of lm-eval's tasks, with the others beside it and one item for each row.

    An item of a task with choices has their log-likelihoods, `correct` and with acc_norm `correct_norm`; one of a text for
    perplexity has its `loss` for each word; one that was generated has its `prediction` after the first filter.

    The standard error of a mean is that of mean_stderr, that of any other metric comes from a bootstrap over items.

    Raises:
        UserError: rows that are missing or have not the form that the definition expects, a request that does not fit the
            model's window, or logits that are not numbers.
    """
    where = settings.dataset
    bos = choose_prompt_bos(settings.bos, tokenizer, where)
    with quiet(), _no_bars():
        task = build_task(settings, source)
        asked = render_items(task, settings)
        total = len(asked) * (task.multiple_input or 1)
        lm = PrefixLM(model, tokenizer, bos, batch_size, where, on_batch=lambda done: on_progress(min(done, total), total))
        report = evaluate(lm, _as_dict(task), limit=settings.limit, bootstrap_iters=0, log_samples=True)
        samples: list[Sample] = report["samples"][task.task_name]
        protocol = _protocol(settings, task, bos.present, lm, model)
        metrics = _metrics(task, settings, report["results"][task.task_name], samples, asked, protocol)
    if settings.name not in metrics:
        raise UserError(f"{where}: the task has no metric {settings.metric}, but {', '.join(metrics)}. Leave it out.")
    first = metrics.pop(settings.name)
    measured = Measured(metric=first, items=_items(task, settings, samples, asked), beside=metrics)
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        return measured  # a text has no prompt
    return measured.with_prompt(min(samples, key=lambda sample: int(sample["doc_id"]))["arguments"][0][0])


def build_task(settings: HarnessSettings, source: Source) -> Any:
    """lm-eval's task on the rows of the source.

    Raises:
        UserError: rows that are missing, or have not the columns that the definition expects.
    """
    definition = read_definition(settings.task)
    rows = read_hub(definition) if source.name == "hub" else _Splits(definition, source, settings.num_fewshot)
    member = {"task": settings.task, "custom_dataset": lambda **_: rows, "num_fewshot": settings.num_fewshot}
    with _row_errors(settings, lambda: list(rows[definition.split].column_names)):
        loaded = _manager(definition.path.parent).load({"group": "prune", "task": [member]})
    task = loaded["tasks"][settings.task]
    task.set_fewshot_seed(FEWSHOT_SEED)
    for name, aggregate in task.aggregation().items():
        if aggregate is not lm_eval.api.metrics.mean:
            task.aggregation()[name] = _finite(aggregate)
    return task


def render_items(task: Any, settings: HarnessSettings) -> list[Asked]:
    """The items that are asked, as the definition renders their rows.

    Raises:
        UserError: a row has not the form that the definition expects.
    """
    asked = []
    for number, doc in task.doc_iterator(limit=settings.limit):
        with _row_errors(settings, lambda doc=doc: list(doc), f", row {number} (the first is 0)"):  # type: ignore[misc]
            choices = list(task.doc_to_choice(doc)) if task.config.doc_to_choice is not None else None
            item = Asked(task.doc_to_text(doc), task.doc_to_target(doc), choices)
            if _compares_choices(task):
                _check_gold(_gold(task, item), choices or [])
            asked.append(item)
    return asked


def _gold(task: Any, item: Asked) -> Any:
    """The right choice: its index or its text, or a list of them."""
    return item.text if task.multiple_input else item.target


def _check_gold(gold: Any, choices: Sequence[str]) -> None:
    """Refuse an answer that lm-eval would silently count as wrong whatever the model says."""
    for one in gold if isinstance(gold, list) else [gold]:
        if not (one in choices if isinstance(one, str) else isinstance(one, int) and 0 <= one < len(choices)):
            raise ValueError(f"its answer {one!r} is none of its {len(choices)} choices")


def read_items(settings: HarnessSettings, source: Source) -> tuple[Place, list[str]]:
    """(where the items' rows lie, the text of each item without exemplars and answer)."""
    definition = read_definition(settings.task)
    with quiet(), _no_bars():
        asked = render_items(build_task(settings, source), settings)
    return find_place(definition, definition.split), [item.question for item in asked]


class _Splits(dict[str, Any]):
    """The splits of a set, read when lm-eval asks for them."""

    def __init__(self, definition: Definition, source: Source, num_fewshot: int) -> None:
        super().__init__()
        self._definition, self._source, self._num_fewshot = definition, source, num_fewshot

    def __missing__(self, split: str) -> Any:
        self[split] = datasets.Dataset.from_list(self._read(split))
        return self[split]

    def _read(self, split: str) -> Rows:
        # lm-eval prepares exemplars even where none is asked for: a row of the evaluation serves, and is never shown
        if split != self._definition.split and not self._num_fewshot:
            return read_split(self._definition, self._definition.split, self._source)[:1]
        return read_split(self._definition, split, self._source)


@cache
def _manager(folder: Path) -> TaskManager:
    """lm-eval's manager of the tasks in one folder; of all of them it takes ten seconds and more."""
    return TaskManager(include_path=str(folder), include_defaults=False)


def _as_dict(task: Any) -> dict[str, Any]:
    return {"tasks": {task.task_name: task}, "groups": {}}


@contextmanager
def _row_errors(settings: HarnessSettings, columns: Callable[[], list[str]], place: str = "") -> Iterator[None]:
    """Tells of rows that a definition cannot use, with the columns that they have."""
    import jinja2

    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, jinja2.TemplateError) as error:
        path, config = read_definition(settings.task).dataset
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{settings.dataset}{place}: the rows have not the form of {path}{f' ({config})' if config else ''}, which "
            f"lm-eval's definition expects ({reason}). Columns that are there: {', '.join(columns())}."
        ) from error


@contextmanager
def _no_bars() -> Iterator[None]:
    """Inside, `datasets` draws no bars and lm-eval says errors only."""
    shown = datasets.utils.are_progress_bars_disabled()
    logger = logging.getLogger("datasets")
    level = logger.level
    datasets.disable_progress_bars()
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if not shown:
            datasets.enable_progress_bars()


def _finite(aggregate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The aggregation, with the largest float for a perplexity that exceeds it: JSON has no infinity."""

    @wraps(aggregate)
    def run(values: Any) -> Any:
        try:
            return aggregate(values)
        except OverflowError:
            return sys.float_info.max

    return run


def _metrics(
    task: Any,
    settings: HarnessSettings,
    results: dict[str, Any],
    samples: Sequence[Sample],
    asked: Sequence[Asked],
    protocol: dict[str, Any],
) -> dict[str, Metric]:
    """Every metric under its name.

    Raises:
        UserError: lm-eval does not say whether more of a metric is better.
    """
    chance = mean([_chance(task, item) for item in asked]) if _compares_choices(task) else None
    found = {}
    for filter_name in dict.fromkeys(sample["filter"] for sample in samples):
        chosen = [sample for sample in samples if sample["filter"] == filter_name]
        for metric in dict.fromkeys(name for sample in chosen for name in sample["metrics"]):
            values = [sample[metric] for sample in chosen if metric in sample["metrics"]]
            value = float(results[f"{metric},{filter_name}"])
            aggregate = inspect.unwrap(task.aggregation().get(metric, lm_eval.api.metrics.mean))
            found[f"{settings.dataset}/{name_metric(metric, filter_name)}"] = Metric(
                value=value,
                stderr=_stderr(values, task.aggregation().get(metric, lm_eval.api.metrics.mean)),
                num_items=len(values),
                higher_is_better=_direction(task, settings, metric),
                chance=chance if metric in CHOICE_METRICS else None,
                protocol=protocol | {"filter": filter_name} | ({"overflow": True} if value == sys.float_info.max else {}),
                unit=UNITS.get(metric, metric),
                scale="log" if aggregate in LOG_AGGREGATIONS else "linear",
                items=_item_column(settings, aggregate, name_metric(metric, filter_name), values),
            )
    return found


def _direction(task: Any, settings: HarnessSettings, metric: str) -> bool:
    """Whether more is better, as the definition says or lm-eval knows of the metric."""
    told = task.higher_is_better().get(metric)
    if told is None:
        raise UserError(
            f"{settings.dataset}: lm-eval does not say whether a higher {metric} is better: its definition has no "
            f"higher_is_better for it, so that results could not be compared. Leave the task out."
        )
    return bool(told)


def _item_column(
    settings: HarnessSettings, aggregate: Callable[[Any], Any], name: str, values: Sequence[Any]
) -> ItemColumn | None:
    """Where `_items` keeps what each item adds to the metric; None where it is no mean of plain numbers."""
    if aggregate in WEIGHTED_AGGREGATIONS and all(isinstance(value, tuple) for value in values):
        return ItemColumn(metric=settings.name, keys=["scores", name], weight_keys=["weights", name])
    if aggregate in PLAIN_AGGREGATIONS and all(isinstance(value, int | float) for value in values):
        return ItemColumn(metric=settings.name, keys=["scores", name])
    return None


def _stderr(values: Sequence[Any], aggregate: Callable[[Any], Any]) -> float | None:
    """The standard error of an aggregated metric; None for a single item."""
    if len(values) < 2:
        return None
    if aggregate is lm_eval.api.metrics.mean:
        return mean_stderr([float(value) for value in values])
    draw = random.Random(0)
    try:
        with warnings.catch_warnings(action="ignore"):  # a drawn set may lack a class, say
            drawn = [float(aggregate(draw.choices(values, k=len(values)))) for _ in range(NUM_RESAMPLES)]
        error = mean_stderr(drawn)
    except OverflowError:
        return None
    return None if error is None or not math.isfinite(error) else error * math.sqrt(NUM_RESAMPLES)


def _has_choices(task: Any) -> bool:
    return bool(task.OUTPUT_TYPE == "multiple_choice")


def _compares_choices(task: Any) -> bool:
    """Whether the likeliest choice is compared with the right one; some definitions do other things with likelihoods."""
    return _has_choices(task) and task.config.process_results is None


def _chance(task: Any, item: Asked) -> float:
    gold = _gold(task, item)
    num_right = len(set(gold)) if isinstance(gold, list) else 1
    return num_right / len(item.choices or [gold])


def _items(task: Any, settings: HarnessSettings, samples: Sequence[Sample], asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """What is kept of each item, under its first filter; plain numbers of other metrics and filters under `scores`."""
    rows: dict[int, dict[str, Any]] = {}
    for sample in samples:
        number = sample["doc_id"]
        if number not in rows:
            rows[number] = {"id": number} | _answer(task, settings, sample, asked[number])
        for name in sample["metrics"]:
            _keep_score(rows[number], name_metric(name, sample["filter"]), sample[name], task.aggregation().get(name))
    for row in rows.values():
        for key, name in (("correct", settings.metric), ("correct_norm", "acc_norm")):
            if row.get("scores", {}).get(name) in (0.0, 1.0):
                row[key] = row["scores"][name] == 1.0
    return [rows[number] for number in sorted(rows)]


def _keep_score(row: dict[str, Any], name: str, value: Any, aggregate: Callable[[Any], Any] | None) -> None:
    """Keep what an item adds to the mean that a metric is made of; of a weighted mean also its weight."""
    sign = LOGLIKELIHOOD_AGGREGATIONS.get(inspect.unwrap(aggregate), 1.0) if aggregate else 1.0
    if isinstance(value, int | float):
        row.setdefault("scores", {})[name] = sign * float(value)
    elif aggregate and inspect.unwrap(aggregate) in WEIGHTED_AGGREGATIONS:
        total, weight = value
        row.setdefault("scores", {})[name] = sign * float(total) / weight if weight else 0.0  # an empty text
        row.setdefault("weights", {})[name] = weight


def _answer(task: Any, settings: HarnessSettings, sample: Sample, item: Asked) -> dict[str, Any]:
    replies = sample["filtered_resps"]
    if _has_choices(task):
        assert item.choices is not None, "lm-eval compares choices"
        logprobs = [float(reply[0]) for reply in replies][: len(item.choices)]
        best = max(range(len(logprobs)), key=lambda choice: logprobs[choice])
        return {"prediction": item.choices[best], "logprobs": logprobs, "gold": _name_gold(_gold(task, item), item.choices)}
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        weighted = sample.get(settings.metric)
        num_words = weighted[1] if isinstance(weighted, tuple) else 1
        return {"loss": -float(replies[0]) / num_words, "num_words": num_words}
    if task.OUTPUT_TYPE == "loglikelihood":
        logprob, is_greedy = replies[0]
        return {"loss": -float(logprob), "prediction": bool(is_greedy), "gold": item.target}
    return {"prediction": replies[0] if isinstance(replies[0], str) else list(replies[0]), "gold": item.target}


def _name_gold(gold: Any, choices: Sequence[str]) -> Any:
    """The right choice, or all of them, as text; anything that is no index stays."""
    if isinstance(gold, list):
        return [_name_gold(one, choices) for one in gold]
    return choices[gold] if isinstance(gold, int) and 0 <= gold < len(choices) else gold


def _protocol(settings: HarnessSettings, task: Any, bos: bool, lm: PrefixLM, model: Any) -> dict[str, Any]:
    """How the items are asked, as plain values."""
    definition = read_definition(settings.task)
    path, config = definition.dataset
    text = definition.config.get("doc_to_text")
    place = find_place(definition, definition.split)
    return {
        "kind": f"lm-eval task, {definition.output_type}",
        "task": settings.task,
        "version": settings.version,
        "definition_sha256": settings.definition,
        "template": text if isinstance(text, str) else None,
        "dataset": f"{path}/{config}" if config else path,
        "set": place.dataset.name if place.is_ours else None,
        "split": definition.split,
        "num_fewshot": settings.num_fewshot,
        "fewshot_seed": FEWSHOT_SEED if settings.num_fewshot else None,
        "limit": settings.limit,
        "generation": definition.config.get("generation_kwargs"),
        "bos": bos,
        "batch_size": lm.smallest_batch_size,
        "dtype": str(model.dtype).removeprefix("torch."),
        "lm_eval": lm_eval.__version__,
    }
