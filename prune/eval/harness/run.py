"""One of lm-eval's own tasks, answered by prune/eval/engine/lm.py -> its metrics and items.

Prompts, filters, metrics and their aggregation are lm-eval's; only the rows come from the source (rows.py). The exemplars of
a prompt are drawn anew for each item, with the seed that lm-eval's command line has.
"""

import math
import random
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from prune.data.dataset import QuestionSet, cluster_numbers
from prune.data.sources.source import Source, examples
from prune.errors import UserError
from prune.eval.engine.bos import choose_prompt_bos
from prune.eval.engine.lm import PrefixLM
from prune.eval.engine.tasks import (
    FEWSHOT_SEED,
    LM_EVAL_VERSION,
    Aggregation,
    Evaluated,
    Sample,
    evaluate_task,
    find_aggregation,
    quiet,
)
from prune.eval.harness.index import TaskSettings, name_metric, read_definition
from prune.eval.harness.rows import find_place
from prune.eval.harness.task import Asked, build_task, compares_choices, has_choices, render_items, right_choice
from prune.eval.metric import ACCURACY, ItemColumn, Measured, Metric, mean, mean_stderr
from prune.eval.subject import Subject

NUM_RESAMPLES = 200
"""Sets of items drawn with replacement for the standard error of a metric that is no mean."""

CHOICE_METRICS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match")

OF_HUNDRED = ("bleu", "chrf", "ter")
"""Metrics that go to 100."""

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


def measure_task(settings: TaskSettings, subject: Subject, source: Source) -> Measured:
    """The first metric of one of lm-eval's tasks, with the others beside it and one item for each row.

    An item of a task with choices has their log-likelihoods, `correct` and with acc_norm `correct_norm`; one of a text for
    perplexity has its `loss` for each word; one that was generated has its `prediction` after the first filter.

    The standard error of a mean is that of mean_stderr, that of any other metric comes from a bootstrap over items.

    Raises:
        UserError: rows that are missing or do not have the form that the definition expects, a request that does not fit the
            model's window, or logits that are not numbers.
    """
    where, tokenizer = settings.dataset, subject.tokenizer
    bos = choose_prompt_bos(settings.bos, tokenizer, where)
    with quiet():
        task = build_task(settings, source)
        asked = render_items(task, settings)
        total = len(asked) * (task.multiple_input or 1)

        def tell(num_done: int) -> None:
            subject.on_progress(min(num_done, total), total)

        lm = PrefixLM(subject.model, tokenizer, bos, subject.batch_size, where, on_batch=tell)
        evaluated = evaluate_task(lm, task, settings.limit)
    metrics = _metrics(settings, evaluated, asked, _protocol(settings, subject, bos.present, lm.smallest_batch_size))
    if settings.name not in metrics:
        raise UserError(f"{where}: the task has no metric {settings.metric}, but {', '.join(metrics)}. Leave it out.")
    first = metrics.pop(settings.name)
    measured = Measured(metric=first, items=_items(settings, evaluated, asked, source), beside=metrics)
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        return measured  # a text has no prompt
    return measured.with_prompt(min(evaluated.samples, key=lambda sample: int(sample["doc_id"]))["arguments"][0][0])


def _metrics(
    settings: TaskSettings, evaluated: Evaluated, asked: Sequence[Asked], protocol: dict[str, Any]
) -> dict[str, Metric]:
    """Every metric under its name.

    Raises:
        UserError: lm-eval does not say whether more of a metric is better.
    """
    task = evaluated.task
    chance = mean([_chance(task, item) for item in asked]) if compares_choices(task) else None
    found = {}
    shown = dict.fromkeys((name, sample["filter"]) for sample in evaluated.samples for name in sample["metrics"])
    for metric, filter_name in shown:
        values = evaluated.values(metric, filter_name)
        value = float(evaluated.results[f"{metric},{filter_name}"])
        name, aggregation = name_metric(metric, filter_name), find_aggregation(task, metric)
        found[f"{settings.dataset}/{name}"] = Metric(
            value=value,
            stderr=_stderr(values, aggregation),
            num_items=len(values),
            higher_is_better=_direction(task, settings, metric),
            chance=chance if metric in CHOICE_METRICS else None,
            protocol=protocol | {"filter": filter_name} | ({"overflow": True} if value == sys.float_info.max else {}),
            unit=UNITS.get(metric, metric),
            scale="log" if aggregation.is_log else "linear",
            decimals=2 if aggregation.is_log or metric in OF_HUNDRED else 3,
            items=_item_column(settings, aggregation, name, values),
        )
    return found


def _direction(task: Any, settings: TaskSettings, metric: str) -> bool:
    """Whether more is better, as the definition says or lm-eval knows of the metric."""
    told = task.higher_is_better().get(metric)
    if told is None:
        raise UserError(
            f"{settings.dataset}: lm-eval does not say whether a higher {metric} is better: its definition has no "
            f"higher_is_better for it, so that results could not be compared. Leave the task out."
        )
    return bool(told)


def _item_column(settings: TaskSettings, aggregation: Aggregation, name: str, values: Sequence[Any]) -> ItemColumn | None:
    """Where `_items` keeps what each item adds to the metric; None where it is no mean of plain numbers."""
    if aggregation.is_weighted and all(isinstance(value, tuple) for value in values):
        return ItemColumn(metric=settings.name, keys=["scores", name], weight_keys=["weights", name])
    is_plain = aggregation.is_mean or (aggregation.is_log and not aggregation.is_weighted)
    if is_plain and all(isinstance(value, int | float) for value in values):
        return ItemColumn(metric=settings.name, keys=["scores", name])
    return None


def _stderr(values: Sequence[Any], aggregation: Aggregation) -> float | None:
    """The standard error of an aggregated metric; None for a single item."""
    if len(values) < 2:
        return None
    if aggregation.is_mean:
        return mean_stderr([float(value) for value in values])
    draw = random.Random(0)
    try:
        with warnings.catch_warnings(action="ignore"):  # a drawn set may lack a class, say
            drawn = [float(aggregation.run(draw.choices(values, k=len(values)))) for _ in range(NUM_RESAMPLES)]
        error = mean_stderr(drawn)
    except OverflowError:
        return None
    return None if error is None or not math.isfinite(error) else error * math.sqrt(NUM_RESAMPLES)


def _chance(task: Any, item: Asked) -> float:
    gold = right_choice(task, item)
    num_right = len(set(gold)) if isinstance(gold, list) else 1
    return num_right / len(item.choices or [gold])


def _items(settings: TaskSettings, evaluated: Evaluated, asked: Sequence[Asked], source: Source) -> list[dict[str, Any]]:
    """What is kept of each item, under its first filter; plain numbers of other metrics and filters under `scores`."""
    task = evaluated.task
    rows: dict[int, dict[str, Any]] = {}
    for sample in evaluated.samples:
        number = sample["doc_id"]
        if number not in rows:
            rows[number] = {"id": number} | _answer(task, settings, sample, asked[number])
        for name in sample["metrics"]:
            _keep_score(rows[number], name_metric(name, sample["filter"]), sample[name], find_aggregation(task, name))
    clusters = _clusters(settings, task, len(asked), source)
    for row in rows.values():
        for key, name in (("correct", settings.metric), ("correct_norm", "acc_norm")):
            if row.get("scores", {}).get(name) in (0.0, 1.0):
                row[key] = row["scores"][name] == 1.0
        if clusters:
            row["cluster"] = clusters[row["id"]]
    return [rows[number] for number in sorted(rows)]


def _clusters(settings: TaskSettings, task: Any, num_items: int, source: Source) -> list[int]:
    """The clusters of the items where prune/data has the set and each of its rows is an item; empty elsewhere."""
    definition = read_definition(settings.task)
    place = find_place(definition, definition.split)
    if source.name == "hub" or not isinstance(place.dataset, QuestionSet):
        return []
    rows = examples(source, place.dataset, place.split)
    is_row_by_row = len(rows) == len(task.task_docs)
    return cluster_numbers(rows[:num_items]) if is_row_by_row else []


def _keep_score(row: dict[str, Any], name: str, value: Any, aggregation: Aggregation) -> None:
    """Keep what an item adds to the mean that a metric is made of; of a weighted mean also its weight."""
    if isinstance(value, int | float):
        row.setdefault("scores", {})[name] = aggregation.factor * float(value)
    elif aggregation.is_weighted:
        total, weight = value
        row.setdefault("scores", {})[name] = aggregation.factor * float(total) / weight if weight else 0.0  # an empty text
        row.setdefault("weights", {})[name] = weight


def _answer(task: Any, settings: TaskSettings, sample: Sample, item: Asked) -> dict[str, Any]:
    replies = sample["filtered_resps"]
    if has_choices(task):
        assert item.choices is not None, "lm-eval compares choices"
        logprobs = [float(reply[0]) for reply in replies][: len(item.choices)]
        best = max(range(len(logprobs)), key=lambda choice: logprobs[choice])
        return {
            "prediction": item.choices[best],
            "logprobs": logprobs,
            "gold": _name_gold(right_choice(task, item), item.choices),
        }
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


def _protocol(settings: TaskSettings, subject: Subject, bos: bool, batch_size: int) -> dict[str, Any]:
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
        "batch_size": batch_size,
        "dtype": subject.dtype,
        "lm_eval": LM_EVAL_VERSION,
    }
