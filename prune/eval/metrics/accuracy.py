"""Few-shot accuracy by greedy generation, run through lm-eval. Importing lm_eval takes seconds.

The study's protocol: after the prompt of questions/ask.py, the answer is what is generated up to the next blank line;
with rationales, what follows "So the answer is" there. It is scored by answers.py.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prune.config.data import DataConfig
from prune.config.eval import EvalConfig
from prune.data.dataset import AnswerKind, Example, QuestionSet, cluster_numbers
from prune.data.identity import data_identity
from prune.data.registry import find_dataset, with_questions
from prune.errors import UserError
from prune.eval.metric import ACCURACY, ItemColumn, Measured, Metric, PlannedMetric, mean, mean_stderr
from prune.eval.metrics.translation import TranslationSettings
from prune.eval.questions.answers import Scored, score
from prune.eval.questions.prompt import MAX_NEW_TOKENS, RATIONALE_NEW_TOKENS, GenerationSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracySettings(GenerationSettings):
    """Of an accuracy by exact match of a generated answer."""

    metric: ClassVar[str] = "acc"
    scoring: int = 1
    """Version of the scoring in answers.py."""


def measure_accuracy(
    settings: AccuracySettings,
    dataset: QuestionSet,
    exemplars: Mapping[int, Example],
    items: Sequence[Example],
    model: Any,
    tokenizer: Any,
    *,
    batch_size: int,
    on_progress: Callable[[int, int], None],
) -> Measured:
    """The share of `items` that `model` answers right, with every prediction as an item.

    Args:
        exemplars: what stands before each question, in order, by row of the training split.
        items: what is asked; an item's id is its place in this list.
        on_progress: called with (items done, items in all).

    Raises:
        UserError: as ask.
    """
    from prune.eval.questions.ask import ask

    def read(index: int, prediction: str) -> Scored:
        return score(prediction, items[index], dataset.answer_kind, rationale=settings.rationale)

    task = _describe_task(items, read)
    answers = ask(settings, exemplars, items, model, tokenizer, task, batch_size=batch_size, on_progress=on_progress)
    clusters = cluster_numbers(items)
    rows = [
        _row(index, prediction, items[index], read(index, prediction)) | {"cluster": clusters[index]}
        for index, prediction in answers.replies.items()
    ]
    correct = [float(row["correct"]) for row in rows]
    assert math.isclose(answers.scores["exact_match,none"], mean(correct)), "items and lm-eval's aggregate disagree"
    protocol = answers.protocol | {
        "kind": "greedy generation, exact match",
        "scoring": settings.scoring,
        "parsed_share": answers.scores["parsed,none"],
    }
    metric = Metric(
        value=mean(correct),
        stderr=mean_stderr(correct),
        num_items=len(rows),
        higher_is_better=True,
        chance=mean([1 / len(items[index].choices) for index in answers.replies]) if items[0].choices else None,
        protocol=protocol,
        unit=ACCURACY,
        items=ItemColumn(metric=settings.name, keys=["correct"]),
    )
    return Measured(metric=metric, items=rows)


def _describe_task(items: Sequence[Example], read: Callable[[int, str], Scored]) -> dict[str, Any]:
    """How lm-eval is to score with answers.py: `exact_match`, and the share that could be parsed."""

    def process_results(doc: dict[str, Any], answers: list[str]) -> dict[str, float]:
        scored = read(doc["id"], answers[0])
        return {"exact_match": float(scored.correct), "parsed": float(scored.parsed is not None)}

    return {
        "doc_to_target": lambda doc: items[doc["id"]].target,
        "process_results": process_results,
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("exact_match", "parsed")
        ],
    }


def _row(index: int, prediction: str, item: Example, scored: Scored) -> dict[str, Any]:
    """What is kept of one item."""
    return {
        "id": index,
        "prediction": prediction,
        "parsed": scored.parsed,
        "gold": item.target,
        "correct": scored.correct,
    }


def plan_generation(name: str, config: EvalConfig, data: DataConfig) -> PlannedMetric:
    """An accuracy, or for free text a BLEU."""
    dataset = find_dataset(name)
    if not isinstance(dataset, QuestionSet):
        raise UserError(f"{name} is not a set of questions. {with_questions()}")
    kind = TranslationSettings if dataset.answer_kind is AnswerKind.TEXT else AccuracySettings
    settings = kind(
        dataset=name,
        split=dataset.eval_split,
        exemplar_split=dataset.train_split,
        num_fewshot=dataset.num_fewshot if config.num_fewshot is None else config.num_fewshot,
        limit=config.limit,
        max_new_tokens=RATIONALE_NEW_TOKENS if config.rationale else MAX_NEW_TOKENS[dataset.answer_kind],
        bos=config.bos.before_text,
        too_long=config.too_long,
        rationale=config.rationale,
    )
    return PlannedMetric(f"{settings.metric}/{name}", settings, data_identity(dataset, settings.splits, data))
