"""Accuracy by likelihood: of an item's choices, the one that the model finds likeliest after the question. Through lm-eval.

The prompt is the study's few-shot prompt of questions/ask.py, without an answer. A choice follows it after one blank, and
its score is the sum of the log-probabilities of its tokens; `acc_mc_norm` divides by the choice's length in bytes first.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prune.config.data import DataConfig
from prune.config.eval import EvalConfig
from prune.data.dataset import Example, QuestionSet, cluster_numbers
from prune.data.identity import data_identity
from prune.data.registry import find_dataset
from prune.eval.metric import ACCURACY, ItemColumn, Measured, Metric, PlannedMetric, mean, mean_stderr
from prune.eval.questions.prompt import QuestionSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceSettings(QuestionSettings):
    """Of an accuracy by the likelihood of the choices."""

    metric: ClassVar[str] = "acc_mc"


def measure_choices(
    settings: ChoiceSettings,
    exemplars: Mapping[int, Example],
    items: Sequence[Example],
    model: Any,
    tokenizer: Any,
    *,
    batch_size: int,
    on_progress: Callable[[int, int], None],
) -> Measured:
    """The share of `items` whose right choice is the likeliest, with every choice's log-likelihood as an item.

    Beside it stands `acc_mc_norm/<set>`, by log-likelihood per byte.

    Args:
        exemplars: what stands before each question, in order, by row of the training split.
        items: what is asked, each with choices; an item's id is its place in this list.
        on_progress: called with (items done, items in all).

    Raises:
        UserError: as ask.
    """
    from prune.eval.questions.ask import ask

    task = _describe_task(items)
    answers = ask(settings, exemplars, items, model, tokenizer, task, batch_size=batch_size, on_progress=on_progress)
    clusters = cluster_numbers(items)
    rows = [
        _row(index, [reply[0] for reply in replies], items[index]) | {"cluster": clusters[index]}
        for index, replies in answers.replies.items()
    ]
    correct, correct_norm = ([float(row[key]) for row in rows] for key in ("correct", "correct_norm"))
    assert math.isclose(answers.scores["acc,none"], mean(correct)), "items and lm-eval's aggregate disagree"
    chance = mean([1 / len(items[index].choices) for index in answers.replies])
    protocol = answers.protocol | {"kind": "likelihood of the choices", "template": "{question} {choice}"}
    column, column_norm = (ItemColumn(metric=settings.name, keys=[key]) for key in ("correct", "correct_norm"))
    protocol_norm = protocol | {"normalised": "by length in bytes"}
    return Measured(
        metric=_metric(correct, chance, protocol | {"normalised": None}, column),
        items=rows,
        beside={f"acc_mc_norm/{settings.dataset}": _metric(correct_norm, chance, protocol_norm, column_norm)},
    )


def _metric(correct: Sequence[float], chance: float, protocol: dict[str, Any], items: ItemColumn) -> Metric:
    return Metric(
        value=mean(correct),
        stderr=mean_stderr(correct),
        num_items=len(correct),
        higher_is_better=True,
        chance=chance,
        protocol=protocol,
        unit=ACCURACY,
        items=items,
    )


def _describe_task(items: Sequence[Example]) -> dict[str, Any]:
    """How lm-eval is to compare the choices."""
    return {
        "output_type": "multiple_choice",
        "doc_to_choice": lambda doc: list(items[doc["id"]].choices),
        "doc_to_target": lambda doc: items[doc["id"]].choices.index(items[doc["id"]].target),
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("acc", "acc_norm")
        ],
    }


def _row(index: int, logprobs: Sequence[float], item: Example) -> dict[str, Any]:
    """What is kept of one item: of equal scores the first choice counts, as in lm-eval."""
    best = max(range(len(logprobs)), key=lambda choice: logprobs[choice])
    per_byte = [logprob / len(choice.encode()) for logprob, choice in zip(logprobs, item.choices, strict=True)]
    best_norm = max(range(len(per_byte)), key=lambda choice: per_byte[choice])
    return {
        "id": index,
        "prediction": item.choices[best],
        "logprobs": list(logprobs),
        "gold": item.target,
        "correct": item.choices[best] == item.target,
        "correct_norm": item.choices[best_norm] == item.target,
    }


def plan_choices(name: str, config: EvalConfig, data: DataConfig) -> PlannedMetric:
    """The accuracy by likelihood that a configuration asks for on one set."""
    dataset = find_dataset(name)
    assert isinstance(dataset, QuestionSet), name
    settings = ChoiceSettings(
        dataset=name,
        split=dataset.eval_split,
        exemplar_split=dataset.train_split,
        num_fewshot=dataset.num_fewshot if config.num_fewshot is None else config.num_fewshot,
        limit=config.limit,
        bos=config.bos.before_text,
        too_long=config.too_long,
    )
    return PlannedMetric(f"acc_mc/{name}", settings, data_identity(dataset, settings.splits, data))
