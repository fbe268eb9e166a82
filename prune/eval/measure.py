"""One planned metric -> its value and its items."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from prune.data.dataset import Example, QuestionSet
from prune.data.registry import find_dataset
from prune.data.sources.source import Source, examples
from prune.eval.harness.settings import HarnessSettings
from prune.eval.metric import Measured, Metric, PlannedMetric, Progress
from prune.eval.metrics.accuracy import AccuracySettings
from prune.eval.metrics.choices import ChoiceSettings
from prune.eval.metrics.perplexity import PerplexitySettings, score_perplexity
from prune.eval.metrics.translation import TranslationSettings
from prune.eval.questions.exemplars import choose_exemplars
from prune.eval.questions.prompt import QuestionSettings


def measure(
    planned: PlannedMetric,
    model: Any,
    tokenizer: Any,
    source: Source,
    *,
    batch_size: int,
    logits_chunk: int | None = None,
    on_progress: Progress = lambda num_done, num_all: None,
) -> Measured:
    """The score of `model` on `planned`, with one item for each chunk or question.

    Args:
        model: a causal language model of transformers, in eval mode.
        batch_size: chunks or prompts in one forward pass; scores do not depend on it, up to rounding.
        logits_chunk: positions of a perplexity whose logits are held at once.

    Raises:
        UserError: as measure_perplexity and measure_accuracy, and whatever the source has to say about its rows.
    """
    settings = planned.settings
    if isinstance(settings, PerplexitySettings):
        measured = score_perplexity(settings, model, tokenizer, source, batch_size, logits_chunk, on_progress)
    elif isinstance(settings, HarnessSettings):
        from prune.eval.harness.run import measure_harness

        measured = measure_harness(settings, source, model, tokenizer, batch_size=batch_size, on_progress=on_progress)
    else:
        assert isinstance(settings, QuestionSettings), settings
        measured = _questions(settings, model, tokenizer, source, batch_size, on_progress)
    beside = {name: _with_data(metric, planned) for name, metric in measured.beside.items()}
    return replace(measured, metric=_with_data(measured.metric, planned), beside=beside)


def _with_data(metric: Metric, planned: PlannedMetric) -> Metric:
    return replace(metric, protocol={**metric.protocol, "data": dict(planned.data)})


def _questions(
    settings: QuestionSettings, model: Any, tokenizer: Any, source: Source, batch_size: int, on_progress: Progress
) -> Measured:
    dataset = find_dataset(settings.dataset)
    assert isinstance(dataset, QuestionSet), "the plan checks this"
    items = list(examples(source, dataset, settings.split)[: settings.limit])
    exemplars = choose_exemplars(settings, dataset, source)
    measured = _ask(settings, dataset, exemplars, items, model, tokenizer, batch_size, on_progress)
    from prune.eval.questions.ask import render_prompts

    return measured.with_prompt(render_prompts(settings, exemplars, [items[measured.items[0]["id"]]])[0])


def _ask(
    settings: QuestionSettings,
    dataset: QuestionSet,
    exemplars: Mapping[int, Example],
    items: Sequence[Example],
    model: Any,
    tokenizer: Any,
    batch_size: int,
    on_progress: Progress,
) -> Measured:
    """The score of the kind that the settings are of."""
    asked = exemplars, items, model, tokenizer
    if isinstance(settings, ChoiceSettings):
        from prune.eval.metrics.choices import measure_choices

        return measure_choices(settings, *asked, batch_size=batch_size, on_progress=on_progress)
    if isinstance(settings, TranslationSettings):
        from prune.eval.metrics.translation import measure_bleu

        return measure_bleu(settings, *asked, batch_size=batch_size, on_progress=on_progress)
    from prune.eval.metrics.accuracy import measure_accuracy

    assert isinstance(settings, AccuracySettings), type(settings)
    return measure_accuracy(settings, dataset, *asked, batch_size=batch_size, on_progress=on_progress)
