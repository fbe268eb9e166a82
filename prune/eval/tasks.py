"""Few-shot accuracy by greedy generation, run through lm-eval. Importing lm_eval takes seconds.

The study's protocol: exemplars with their answers, blocks separated by a blank line, then the question; the answer is what
is generated up to the next blank line. Prompts come from the dataset's own definition and scores from answers.py; lm-eval
runs the task, and lm.py answers it.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import datasets
import lm_eval
import lm_eval.api.task
import transformers
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate

from prune.data.dataset import AnswerKind, Example, QuestionSet
from prune.errors import UserError
from prune.eval.answers import score
from prune.eval.lm import PrefixLM
from prune.eval.metric import Measured, Metric, mean, mean_stderr
from prune.eval.protocol import BLOCK_SEPARATOR, AccuracySettings, QuestionSettings, few_shot_prefix, text_hash
from prune.eval.window import check_window, find_window


@dataclass(frozen=True, slots=True)
class PromptBos:
    """How prompts get their special tokens."""

    present: bool
    """Whether a prompt begins with BOS."""
    by_tokenizer: bool
    """Whether the tokenizer adds what it usually does."""
    text: str = ""
    """BOS written before the prompt, where the tokenizer does not add it."""


def measure_accuracy(
    settings: AccuracySettings,
    dataset: QuestionSet,
    exemplars: Sequence[Example],
    items: Sequence[Example],
    model: Any,
    tokenizer: Any,
    *,
    batch_size: int,
    on_progress: Callable[[int, int], None],
) -> Measured:
    """The share of `items` that `model` answers right, with every prediction as an item.

    Args:
        exemplars: what stands before each question, in order.
        items: what is asked; an item's id is its place in this list.
        on_progress: called with (items done, items in all).

    Raises:
        UserError: prompts that do not fit the model's window, a tokenizer without an end-of-sequence token or without the
            BOS that is asked, or logits that are not numbers.
    """
    where = f"acc/{settings.dataset}"
    if tokenizer.eos_token_id is None:
        raise UserError(f"{where}: the tokenizer has no end-of-sequence token, which generation needs.")
    bos = choose_prompt_bos(tokenizer, always=settings.always_bos, where=where)
    prefix = few_shot_prefix(exemplars)
    prompts = [bos.text + prefix + item.question for item in items]
    room = settings.max_new_tokens
    check_window(prompts, tokenizer, find_window(model), where, add_special_tokens=bos.by_tokenizer, room=room)
    lm = PrefixLM(model, tokenizer, bos, batch_size, where, on_batch=lambda num_done: on_progress(num_done, len(items)))
    with quiet():
        task = _make_task(where, prompts, items, dataset.answer_kind, settings.max_new_tokens)
        report = evaluate(lm, {"tasks": {where: task}, "groups": {}}, bootstrap_iters=0, log_samples=True)
    predictions = {sample["doc"]["id"]: sample["filtered_resps"][0] for sample in report["samples"][where]}
    rows = [_row(index, predictions[index], item, dataset.answer_kind) for index, item in enumerate(items)]
    correct = [float(row["correct"]) for row in rows]
    scores = report["results"][where]
    assert math.isclose(scores["exact_match,none"], mean(correct)), "items and lm-eval's aggregate disagree"
    protocol = few_shot_protocol(settings, exemplars, bos, lm, model) | {
        "kind": "greedy generation, exact match",
        "template": "{question} {answer}",
        "stop": BLOCK_SEPARATOR,
        "max_new_tokens": settings.max_new_tokens,
        "scoring": settings.scoring,
        "parsed_share": scores["parsed,none"],
    }
    metric = Metric(
        value=scores["exact_match,none"],
        stderr=mean_stderr(correct),
        num_items=len(items),
        higher_is_better=True,
        chance=mean([1 / len(item.choices) for item in items]) if items[0].choices else None,
        protocol=protocol,
    )
    return Measured(metric=metric, items=rows)


def few_shot_protocol(
    settings: QuestionSettings, exemplars: Sequence[Example], bos: PromptBos, lm: PrefixLM, model: Any
) -> dict[str, Any]:
    """How the questions of any of the metrics are asked, as plain values."""
    return {
        "dataset": settings.dataset,
        "split": settings.split,
        "num_fewshot": len(exemplars),
        "exemplar_split": settings.exemplar_split,
        "exemplar_ids": list(range(len(exemplars))),
        "separator": BLOCK_SEPARATOR,
        "prefix_sha256": text_hash(few_shot_prefix(exemplars)),
        "bos": bos.present,
        "batch_size": lm.smallest_batch_size,
        "dtype": str(model.dtype).removeprefix("torch."),
        "lm_eval": lm_eval.__version__,
    }


def choose_prompt_bos(tokenizer: Any, *, always: bool, where: str) -> PromptBos:
    """What the tokenizer puts before a text is kept; BOS is written out where `always` asks for it and it adds none.

    A tokenizer that also puts something after a text (an end-of-sequence token) is not asked to add anything.

    Raises:
        UserError: `always`, and the tokenizer has no BOS.
    """
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    usual = tokenizer("a")["input_ids"]
    only_before = usual[len(usual) - len(plain) :] == plain
    habit = tokenizer.bos_token_id is not None and usual[:1] == [tokenizer.bos_token_id] and usual != plain
    if only_before and (habit or not always):
        return PromptBos(present=habit, by_tokenizer=True)
    if not habit and not always:
        return PromptBos(present=False, by_tokenizer=False)
    if tokenizer.bos_token_id is None:
        raise UserError(f"{where}: eval.bos=chunk asks for BOS in every prompt, but the tokenizer has no BOS token.")
    return PromptBos(present=True, by_tokenizer=False, text=tokenizer.bos_token)


def _make_task(
    name: str, prompts: Sequence[str], items: Sequence[Example], kind: AnswerKind, max_new_tokens: int
) -> ConfigurableTask:
    """The lm-eval task that asks `prompts` and scores with answers.py: `exact_match`, and the share that could be parsed."""
    docs = datasets.Dataset.from_list([{"id": index, "prompt": prompt} for index, prompt in enumerate(prompts)])

    def process_results(doc: dict[str, Any], answers: list[str]) -> dict[str, float]:
        scored = score(answers[0], items[doc["id"]], kind)
        return {"exact_match": float(scored.correct), "parsed": float(scored.parsed is not None)}

    return ConfigurableTask(
        config={
            "task": name,
            "custom_dataset": lambda: {"items": docs},
            "test_split": "items",
            "output_type": "generate_until",
            "doc_to_text": lambda doc: doc["prompt"],
            "doc_to_target": lambda doc: items[doc["id"]].target,
            "generation_kwargs": {"until": [BLOCK_SEPARATOR], "max_gen_toks": max_new_tokens, "do_sample": False},
            "num_fewshot": 0,
            "process_results": process_results,
            "metric_list": [
                {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("exact_match", "parsed")
            ],
        }
    )


def _row(index: int, prediction: str, item: Example, kind: AnswerKind) -> dict[str, Any]:
    """What is kept of one item."""
    scored = score(prediction, item, kind)
    return {
        "id": index,
        "prediction": prediction,
        "parsed": scored.parsed,
        "gold": item.target,
        "correct": scored.correct,
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, lm-eval and transformers say errors only and lm-eval draws no bar for the prompts."""
    logger = logging.getLogger("lm_eval")
    level, verbosity = logger.level, transformers.logging.get_verbosity()
    bar = lm_eval.api.task.tqdm
    logger.setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    lm_eval.api.task.tqdm = lambda docs, **kwargs: docs
    try:
        yield
    finally:
        lm_eval.api.task.tqdm = bar
        transformers.logging.set_verbosity(verbosity)
        logger.setLevel(level)
