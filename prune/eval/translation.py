"""BLEU of few-shot translation by greedy generation, through lm-eval and sacrebleu.

The prompt is the study's few-shot prompt, as for the accuracies: exemplars, then the sentence; the translation is what is
generated up to the next blank line. BLEU is sacrebleu's over the corpus (Post 2018), with its signature in the protocol.
"""

from collections.abc import Callable, Sequence
from typing import Any

import datasets
import sacrebleu
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate

from prune.data.dataset import Example
from prune.errors import UserError
from prune.eval.lm import PrefixLM
from prune.eval.metric import Measured, Metric
from prune.eval.protocol import BLOCK_SEPARATOR, TranslationSettings, few_shot_prefix
from prune.eval.tasks import choose_prompt_bos, few_shot_protocol, quiet
from prune.eval.window import check_window, find_window

NUM_RESAMPLES = 200
"""Corpora drawn with replacement for the standard error."""

NORMAL_95 = 1.959964
"""Half a 95 % interval of a normal distribution, in standard deviations."""


def measure_bleu(
    settings: TranslationSettings,
    exemplars: Sequence[Example],
    items: Sequence[Example],
    model: Any,
    tokenizer: Any,
    *,
    batch_size: int,
    on_progress: Callable[[int, int], None],
) -> Measured:
    """The corpus BLEU of `model` on `items`, 0 to 100, with every translation and its sentence BLEU as an item.

    The standard error comes from sacrebleu's bootstrap (fixed seed).

    Args:
        exemplars: what stands before each sentence, in order.
        items: what is asked; an item's id is its place in this list.
        on_progress: called with (items done, items in all).

    Raises:
        UserError: prompts that do not fit the model's window, a tokenizer without an end-of-sequence token or without the
            BOS that is asked, or logits that are not numbers.
    """
    where = f"bleu/{settings.dataset}"
    if tokenizer.eos_token_id is None:
        raise UserError(f"{where}: the tokenizer has no end-of-sequence token, which generation needs.")
    bos = choose_prompt_bos(tokenizer, always=settings.always_bos, where=where)
    prefix = few_shot_prefix(exemplars)
    prompts = [bos.text + prefix + item.question for item in items]
    room = settings.max_new_tokens
    check_window(prompts, tokenizer, find_window(model), where, add_special_tokens=bos.by_tokenizer, room=room)
    lm = PrefixLM(model, tokenizer, bos, batch_size, where, on_batch=lambda num_done: on_progress(num_done, len(items)))
    with quiet():
        task = _make_task(where, prompts, items, settings.max_new_tokens)
        report = evaluate(lm, {"tasks": {where: task}, "groups": {}}, bootstrap_iters=0, log_samples=True)
    said = {sample["doc"]["id"]: sample["filtered_resps"][0] for sample in report["samples"][where]}
    translations = [said[index].strip() for index in range(len(items))]
    protocol = few_shot_protocol(settings, exemplars, bos, lm, model) | {
        "kind": "greedy generation, corpus BLEU",
        "template": "{question} {answer}",
        "stop": BLOCK_SEPARATOR,
        "max_new_tokens": settings.max_new_tokens,
    }
    return summarise(translations, [item.target for item in items], protocol)


def summarise(translations: Sequence[str], references: Sequence[str], protocol: dict[str, Any]) -> Measured:
    """The metric and the items of translations with one reference each."""
    bleu = sacrebleu.BLEU()
    corpus = [list(references)]
    value = bleu.corpus_score(list(translations), corpus).score
    signature = str(bleu.get_signature())
    stderr = None
    if len(translations) > 1:
        resampled = sacrebleu.BLEU().corpus_score(list(translations), corpus, n_bootstrap=NUM_RESAMPLES)
        stderr = float(resampled._ci) / NORMAL_95
    metric = Metric(
        value=value,
        stderr=stderr,
        num_items=len(translations),
        higher_is_better=True,
        chance=None,
        protocol=protocol | {"sacrebleu": signature},
    )
    rows = [
        {
            "id": index,
            "prediction": translation,
            "gold": reference,
            "score": sacrebleu.sentence_bleu(translation, [reference]).score,
        }
        for index, (translation, reference) in enumerate(zip(translations, references, strict=True))
    ]
    return Measured(metric=metric, items=rows)


def _make_task(name: str, prompts: Sequence[str], items: Sequence[Example], max_new_tokens: int) -> ConfigurableTask:
    """The lm-eval task that asks `prompts`; its own BLEU is the one that is computed again for the items."""
    docs = datasets.Dataset.from_list([{"id": index, "prompt": prompt} for index, prompt in enumerate(prompts)])
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
            "metric_list": [{"metric": "bleu", "aggregation": "bleu", "higher_is_better": True}],
        }
    )
