"""Accuracy by likelihood: of an item's choices, the one that the model finds likeliest after the question. Through lm-eval.

The prompt is the study's few-shot prompt of prune/eval/tasks.py, without an answer. A choice follows it after one blank, and
its score is the sum of the log-probabilities of its tokens; `acc_mc_norm` divides by the choice's length in bytes first.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import datasets
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate

from prune.data.dataset import Example
from prune.eval.lm import PrefixLM
from prune.eval.metric import Measured, Metric, mean, mean_stderr
from prune.eval.protocol import ChoiceSettings, few_shot_prefix
from prune.eval.tasks import choose_prompt_bos, few_shot_protocol, quiet
from prune.eval.window import check_window, find_window


def measure_choices(
    settings: ChoiceSettings,
    exemplars: Sequence[Example],
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
        exemplars: what stands before each question, in order.
        items: what is asked, each with choices; an item's id is its place in this list.
        on_progress: called with (items done, items in all).

    Raises:
        UserError: prompts that do not fit the model's window, a tokenizer without the BOS that is asked, or logits that are
            not numbers.
    """
    where = f"acc_mc/{settings.dataset}"
    bos = choose_prompt_bos(tokenizer, always=settings.always_bos, where=where)
    prefix = few_shot_prefix(exemplars)
    prompts = [bos.text + prefix + item.question for item in items]
    longest = [f"{prompt} {max(item.choices, key=len)}" for prompt, item in zip(prompts, items, strict=True)]
    check_window(longest, tokenizer, find_window(model), where, add_special_tokens=bos.by_tokenizer)
    lm = PrefixLM(model, tokenizer, bos, batch_size, where, on_batch=lambda num_done: on_progress(num_done, len(items)))
    with quiet():
        report = evaluate(
            lm, {"tasks": {where: _make_task(where, prompts, items)}, "groups": {}}, bootstrap_iters=0, log_samples=True
        )
    scored = {sample["doc"]["id"]: sample for sample in report["samples"][where]}
    rows = [_row(index, [reply[0] for reply in scored[index]["filtered_resps"]], item) for index, item in enumerate(items)]
    assert math.isclose(report["results"][where]["acc,none"], mean([float(row["correct"]) for row in rows]))
    protocol = few_shot_protocol(settings, exemplars, bos, lm, model) | {
        "kind": "likelihood of the choices",
        "template": "{question} {choice}",
        "normalised": None,
    }
    chance = mean([1 / len(item.choices) for item in items])
    return Measured(
        metric=_metric([float(row["correct"]) for row in rows], chance, protocol),
        items=rows,
        beside={
            f"acc_mc_norm/{settings.dataset}": _metric(
                [float(row["correct_norm"]) for row in rows], chance, protocol | {"normalised": "by length in bytes"}
            )
        },
    )


def _metric(correct: Sequence[float], chance: float, protocol: dict[str, Any]) -> Metric:
    return Metric(
        value=mean(correct),
        stderr=mean_stderr(correct),
        num_items=len(correct),
        higher_is_better=True,
        chance=chance,
        protocol=protocol,
    )


def _make_task(name: str, prompts: Sequence[str], items: Sequence[Example]) -> ConfigurableTask:
    """The lm-eval task that compares the choices after `prompts`."""
    docs = datasets.Dataset.from_list([{"id": index, "prompt": prompt} for index, prompt in enumerate(prompts)])
    return ConfigurableTask(
        config={
            "task": name,
            "custom_dataset": lambda: {"items": docs},
            "test_split": "items",
            "output_type": "multiple_choice",
            "doc_to_text": lambda doc: doc["prompt"],
            "doc_to_choice": lambda doc: list(items[doc["id"]].choices),
            "doc_to_target": lambda doc: items[doc["id"]].choices.index(items[doc["id"]].target),
            "num_fewshot": 0,
            "metric_list": [
                {"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in ("acc", "acc_norm")
            ],
        }
    )


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
