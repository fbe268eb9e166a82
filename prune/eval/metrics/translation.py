"""BLEU of few-shot translation by greedy generation, through lm-eval and sacrebleu.

The prompt is the study's few-shot prompt, as for the accuracies: exemplars, then the sentence; the translation is what is
generated up to the next blank line. BLEU is sacrebleu's over the corpus (Post 2018), with its signature in the protocol.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sacrebleu

from prune.data.dataset import Example
from prune.eval.metric import Measured, Metric
from prune.eval.questions.prompt import GenerationSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class TranslationSettings(GenerationSettings):
    """Of a BLEU."""

    metric: ClassVar[str] = "bleu"


NUM_RESAMPLES = 200
"""Corpora drawn with replacement for the standard error."""

NORMAL_95 = 1.959964
"""Half a 95 % interval of a normal distribution, in standard deviations."""


def measure_bleu(
    settings: TranslationSettings,
    exemplars: Mapping[int, Example],
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
        exemplars: what stands before each sentence, in order, by row of the training split.
        items: what is asked; an item's id is its place in this list.
        on_progress: called with (items done, items in all).

    Raises:
        UserError: as ask.
    """
    from prune.eval.questions.ask import ask

    answers = ask(
        settings, exemplars, items, model, tokenizer, _describe_task(items), batch_size=batch_size, on_progress=on_progress
    )
    translations = {index: said.strip() for index, said in answers.replies.items()}
    protocol = answers.protocol | {"kind": "greedy generation, corpus BLEU"}
    return summarise(translations, [item.target for item in items], protocol)


def summarise(translations: Mapping[int, str], references: Sequence[str], protocol: dict[str, Any]) -> Measured:
    """The metric and the items of translations, by the place of their references."""
    bleu = sacrebleu.BLEU()
    said, corpus = list(translations.values()), [[references[index] for index in translations]]
    value = bleu.corpus_score(said, corpus).score
    signature = str(bleu.get_signature())
    stderr = None
    if len(translations) > 1:
        resampled = sacrebleu.BLEU().corpus_score(said, corpus, n_bootstrap=NUM_RESAMPLES)
        stderr = float(resampled._ci) / NORMAL_95
    metric = Metric(
        value=value,
        stderr=stderr,
        num_items=len(translations),
        higher_is_better=True,
        chance=None,
        protocol=protocol | {"sacrebleu": signature},
        unit="BLEU",
    )
    rows = [
        {
            "id": index,
            "prediction": translation,
            "gold": references[index],
            "score": sacrebleu.sentence_bleu(translation, [references[index]]).score,
        }
        for index, translation in translations.items()
    ]
    return Measured(metric=metric, items=rows)


def _describe_task(items: Sequence[Example]) -> dict[str, Any]:
    """How lm-eval is to score; its own BLEU is the one that is computed again for the items."""
    return {
        "doc_to_target": lambda doc: items[doc["id"]].target,
        "metric_list": [{"metric": "bleu", "aggregation": "bleu", "higher_is_better": True}],
    }
