"""Few-shot accuracy by greedy generation, run through lm-eval. The only file that imports lm_eval; that takes seconds.

The study's protocol: exemplars with their answers, blocks separated by a blank line, then the question; the answer is what
is generated up to the next blank line. Prompts come from the dataset's own definition and scores from answers.py; lm-eval
runs the task, and its model sorts, batches, pads and decodes.

Tensors: B prompts in a batch, L tokens (prompt and what was generated so far), V vocabulary.
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
import torch
import transformers
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from torch import Tensor

from prune.data.dataset import AnswerKind, Example, QuestionSet
from prune.errors import UserError
from prune.eval.answers import score
from prune.eval.metric import Measured, Metric, mean, mean_stderr
from prune.eval.protocol import BLOCK_SEPARATOR, AccuracySettings, few_shot_prefix, text_hash
from prune.eval.window import find_window


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
    longest = check_window(prompts, bos, tokenizer, find_window(model), settings)
    with _quiet(), _restored(model, tokenizer):
        lm = _GreedyLM(model, tokenizer, bos, batch_size, longest + settings.max_new_tokens, where)
        lm.on_batch = lambda num_done: on_progress(num_done, len(items))
        task = _make_task(where, prompts, items, dataset.answer_kind, settings.max_new_tokens)
        report = evaluate(lm, {"tasks": {where: task}, "groups": {}}, bootstrap_iters=0, log_samples=True)
    predictions = {sample["doc"]["id"]: sample["filtered_resps"][0] for sample in report["samples"][where]}
    rows = [_row(index, predictions[index], item, dataset.answer_kind) for index, item in enumerate(items)]
    correct = [float(row["correct"]) for row in rows]
    scores = report["results"][where]
    assert math.isclose(scores["exact_match,none"], mean(correct)), "items and lm-eval's aggregate disagree"
    protocol = _protocol(settings, exemplars, bos) | {
        "parsed_share": scores["parsed,none"],
        "batch_size": batch_size,
        "dtype": str(model.dtype).removeprefix("torch."),
        "lm_eval": lm_eval.__version__,
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


def _protocol(settings: AccuracySettings, exemplars: Sequence[Example], bos: PromptBos) -> dict[str, Any]:
    """How the questions are asked and scored, as plain values."""
    return {
        "kind": "greedy generation, exact match",
        "dataset": settings.dataset,
        "split": settings.split,
        "num_fewshot": len(exemplars),
        "exemplar_split": settings.exemplar_split,
        "exemplar_ids": list(range(len(exemplars))),
        "template": "{question} {answer}",
        "separator": BLOCK_SEPARATOR,
        "prefix_sha256": text_hash(few_shot_prefix(exemplars)),
        "bos": bos.present,
        "stop": BLOCK_SEPARATOR,
        "max_new_tokens": settings.max_new_tokens,
        "scoring": settings.scoring,
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


def check_window(
    prompts: Sequence[str], bos: PromptBos, tokenizer: Any, window: int | None, settings: AccuracySettings
) -> int:
    """The length of the longest prompt in tokens.

    Raises:
        UserError: prompts that leave no room for an answer in the window; lm-eval would cut off their beginning.
    """
    encoded = tokenizer(list(prompts), add_special_tokens=bos.by_tokenizer, return_attention_mask=False, verbose=False)
    lengths = [len(ids) for ids in encoded["input_ids"]]
    longest = max(lengths)
    if window is None or longest + settings.max_new_tokens <= window:
        return longest
    too_long = [index for index, length in enumerate(lengths) if length + settings.max_new_tokens > window]
    shown = ", ".join(str(index) for index in too_long[:5]) + (", ..." if len(too_long) > 5 else "")
    raise UserError(
        f"acc/{settings.dataset}: {len(too_long)} of {len(prompts)} prompts do not fit the model's window of {window} "
        f"tokens: the longest has {longest} and its answer may take {settings.max_new_tokens} more (items {shown}). "
        f"Lower eval.num_fewshot (now {settings.num_fewshot}), leave the set out, or take a model with a longer window."
    )


class _GreedyLM(HFLM):  # type: ignore[misc]
    """lm-eval's model around a loaded one, strictly greedy.

    Where its own stopping waits until all answers of a batch ended by the same stop sequence, here each answer ends by
    itself; texts are the same. Logits that are no numbers are an error instead of some token.
    """

    def __init__(self, model: Any, tokenizer: Any, bos: PromptBos, batch_size: int, max_length: int, where: str) -> None:
        super().__init__(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size,
            max_length=max_length,
            add_bos_token=bos.by_tokenizer,
        )
        self.on_batch: Callable[[int], None] = lambda num_done: None
        self._num_done = 0
        self._where = where

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        answers: list[str] = super().generate_until(requests, disable_tqdm=True)
        return answers

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], **kwargs: Any) -> Tensor:
        tokens_BL: Tensor = self.model.generate(
            input_ids=context,
            attention_mask=kwargs["attention_mask"],
            max_length=max_length,
            do_sample=False,
            use_cache=True,
            stopping_criteria=transformers.StoppingCriteriaList([_BlankLine(self.tokenizer, context.shape[1])]),
            logits_processor=transformers.LogitsProcessorList([_OnlyNumbers(self._where)]),
        )
        self._num_done += len(context)
        self.on_batch(self._num_done)
        return tokens_BL


class _BlankLine(transformers.StoppingCriteria):  # type: ignore[misc]
    """Ends each answer that contains a blank line, however it was tokenised."""

    def __init__(self, tokenizer: Any, prompt_len: int) -> None:
        self._tokenizer = tokenizer
        self._prompt_len = prompt_len

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        answers = self._tokenizer.batch_decode(input_ids[:, self._prompt_len :])
        return torch.tensor([BLOCK_SEPARATOR in answer for answer in answers], device=input_ids.device)


class _OnlyNumbers(transformers.LogitsProcessor):  # type: ignore[misc]
    """Refuses logits that are not numbers."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if torch.isnan(scores).any():
            raise UserError(
                f"{self._where}: the model's logits are not numbers: its weights or activations are broken or overflow in "
                f"{str(scores.dtype).removeprefix('torch.')}. Try model.dtype=float32."
            )
        return scores


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
def _quiet() -> Iterator[None]:
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


@contextmanager
def _restored(model: Any, tokenizer: Any) -> Iterator[None]:
    """Inside, decoding is plain greedy, whatever the model's own generation settings are (penalties, forced tokens), and
    lm-eval may choose a padding token; afterwards both are as before."""
    own, pad_token = model.generation_config, tokenizer.pad_token
    if pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted({tokenizer.eos_token_id, *(end for end in ends if end is not None)}),
        pad_token_id=tokenizer.pad_token_id,
    )
    try:
        yield
    finally:
        model.generation_config = own
        tokenizer.pad_token = pad_token
