"""Questions -> answers: the study's few-shot prompts through lm-eval. Importing lm_eval takes seconds.

What the scores on question sets share, however an answer is read: the prompt (exemplars with their answers, blocks separated
by a blank line, then the question), its special tokens, what does not fit the model's window, and the protocol.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import lm_eval
import lm_eval.api.task
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate

from prune.data.dataset import RATIONALE_END, Example
from prune.errors import UserError
from prune.eval.engine.bos import PromptBos, choose_prompt_bos
from prune.eval.engine.lm import PrefixLM, quiet
from prune.eval.questions.prompt import BLOCK_SEPARATOR, GenerationSettings, QuestionSettings, few_shot_prefix, text_hash
from prune.eval.questions.window import choose_fitting, find_too_long
from prune.models.window import find_window


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model answered, and how it was asked."""

    replies: dict[int, Any]
    """An item's place -> lm-eval's reply: the generated text, or for each choice (log-likelihood, is greedy)."""
    scores: Mapping[str, float]
    """lm-eval's own means, `<metric>,none` each."""
    protocol: dict[str, Any]
    """As plain values."""


def ask(
    settings: QuestionSettings,
    exemplars: Mapping[int, Example],
    items: Sequence[Example],
    model: Any,
    tokenizer: Any,
    task: Mapping[str, Any],
    *,
    batch_size: int,
    on_progress: Callable[[int, int], None],
) -> Answers:
    """The answers of `model` to `items`.

    Args:
        exemplars: what stands before each question, in order, by row of the training split.
        task: the part of lm-eval's task that says how answers are read; its documents have an item's place as `id`.
        on_progress: called with (items done, items in all).

    Raises:
        UserError: prompts that do not fit the model's window, a tokenizer without the BOS that is asked or (for generation)
            without an end-of-sequence token, or logits that are not numbers.
    """
    where, generates = settings.name, isinstance(settings, GenerationSettings)
    if generates and tokenizer.eos_token_id is None:
        raise UserError(f"{where}: the tokenizer has no end-of-sequence token, which generation needs.")
    bos = choose_prompt_bos(settings.bos, tokenizer, where)
    prompts = [bos.text + prompt for prompt in render_prompts(settings, exemplars, items)]
    fitting = _choose_fitting(settings, prompts, items, model, tokenizer, bos)
    lm = PrefixLM(model, tokenizer, bos, batch_size, where, on_batch=lambda num_done: on_progress(num_done, len(fitting)))
    with quiet():
        tasks = {where: _make_task(settings, {index: prompts[index] for index in fitting}, task)}
        report = evaluate(lm, {"tasks": tasks, "groups": {}}, bootstrap_iters=0, log_samples=True)
    replies = {sample["doc"]["id"]: sample["filtered_resps"] for sample in report["samples"][where]}
    return Answers(
        replies={index: replies[index][0] if generates else replies[index] for index in sorted(replies)},
        scores=report["results"][where],
        protocol=_protocol(settings, exemplars, bos, lm)
        | {
            "too_long": settings.too_long.value,
            "num_skipped": len(items) - len(fitting),
            "skipped_ids": [index for index in range(len(items)) if index not in replies],
        },
    )


def render_prompts(settings: QuestionSettings, exemplars: Mapping[int, Example], items: Sequence[Example]) -> list[str]:
    """The prompt of each item, which ends where its answer (or the rationale before it) begins."""
    prefix = few_shot_prefix(exemplars.values(), rationale=settings.rationale)
    return [prefix + item.question for item in items]


def _choose_fitting(
    settings: QuestionSettings, prompts: Sequence[str], items: Sequence[Example], model: Any, tokenizer: Any, bos: PromptBos
) -> list[int]:
    """The items that fit the model's window with their answers, or whichever of their choices."""
    room, texts = 0, [[f"{prompt} {choice}" for choice in item.choices] for prompt, item in zip(prompts, items, strict=True)]
    if isinstance(settings, GenerationSettings):
        room, texts = settings.max_new_tokens, [[prompt] for prompt in prompts]
    window = find_window(model)
    too_long = find_too_long(texts, tokenizer, window, add_special_tokens=bos.by_tokenizer, room=room)
    return choose_fitting(too_long, len(items), settings.name, window=window, room=room, policy=settings.too_long)


def _make_task(settings: QuestionSettings, prompts: Mapping[int, str], task: Mapping[str, Any]) -> ConfigurableTask:
    """lm-eval's task that asks `prompts`, by the item's place, greedily where answers are generated."""
    docs = datasets.Dataset.from_list([{"id": index, "prompt": prompt} for index, prompt in prompts.items()])
    config: dict[str, Any] = {
        "task": settings.name,
        "custom_dataset": lambda: {"items": docs},
        "test_split": "items",
        "doc_to_text": lambda doc: doc["prompt"],
        "num_fewshot": 0,
    }
    if isinstance(settings, GenerationSettings):
        decoding = {"until": [BLOCK_SEPARATOR], "max_gen_toks": settings.max_new_tokens, "do_sample": False}
        config |= {"output_type": "generate_until", "generation_kwargs": decoding}
    return ConfigurableTask(config=config | dict(task))


def _protocol(settings: QuestionSettings, exemplars: Mapping[int, Example], bos: PromptBos, lm: PrefixLM) -> dict[str, Any]:
    """How the questions of any of the metrics are asked, as plain values."""
    protocol = {
        "dataset": settings.dataset,
        "split": settings.split,
        "num_fewshot": len(exemplars),
        "exemplar_split": settings.exemplar_split,
        "exemplar_ids": list(exemplars),
        "separator": BLOCK_SEPARATOR,
        "rationale": settings.rationale,
        "prefix_sha256": text_hash(few_shot_prefix(exemplars.values(), rationale=settings.rationale)),
        "bos": bos.present,
        "batch_size": lm.smallest_batch_size,
        "dtype": str(lm.model.dtype).removeprefix("torch."),
        "lm_eval": lm_eval.__version__,
    }
    if isinstance(settings, GenerationSettings):
        protocol |= {
            "template": f"{{question}} {{rationale}}{RATIONALE_END} {{answer}}."
            if settings.rationale
            else "{question} {answer}",
            "stop": BLOCK_SEPARATOR,
            "max_new_tokens": settings.max_new_tokens,
        }
    return protocol
