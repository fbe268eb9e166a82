"""Bits per byte of the right answer: -log2 p(text | prompt) over the text's UTF-8 bytes, mean over items; fewer are better.

The prompt is in cloze form (questions/cloze.py). The text is the right answer's; with `eval.rationale` on a set that has
rationales it is the rationale and the answer, as a pair writes them, and items without a rationale are left out. It tells
models apart that are at chance by every accuracy: each item gives a number, not a yes or no.

Of texts whose last words are asked (lambada) the prompt is the text up to its last space, and the word after it is what
counts: no template, no exemplars, and a unit of its own, so that it is averaged with no question.

Source: arXiv 2508.13144, which finds bits per byte of the right answer the score with the most signal for its noise;
arXiv 2406.08446 for the form of the questions.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from prune.config.data import DataConfig
from prune.config.eval import EvalConfig, EvalProtocol
from prune.data.dataset import Example, QuestionSet, cluster_numbers
from prune.data.identity import data_identity
from prune.data.last_words import has_last_words
from prune.data.registry import find_dataset
from prune.data.sources.source import Source
from prune.errors import UserError
from prune.eval.metric import LAST_WORD, ItemColumn, Measured, Metric, PlannedMetric, mean, mean_stderr
from prune.eval.overlap import Overlap, Seen, Words, question_words, split_words
from prune.eval.questions.cloze import ClozeSettings, bits_per_byte, check_texts
from prune.eval.questions.prompt import PAIR_TEMPLATES
from prune.eval.questions.settings import Questions, asked_by, question_set
from prune.eval.subject import Subject


@dataclass(frozen=True, kw_only=True, slots=True)
class BitsSettings(ClozeSettings):
    """Of the bits per byte of right answers."""

    kind: ClassVar[str] = "bpb"
    key: ClassVar[str] = "eval.tasks"
    last_word: bool = False
    """Whether it is of the last words of texts."""

    @classmethod
    def asked(cls, config: EvalConfig, data: DataConfig) -> Sequence[str]:
        """All sets, whatever their answers are; see `Score.asked`."""
        return asked_by(EvalProtocol.bpb, config, data)

    @classmethod
    def plan(cls, name: str, config: EvalConfig, data: DataConfig) -> list[PlannedMetric]:
        """Also of texts whose last words are asked; see `Score.plan`."""
        dataset = find_dataset(name, data.sets)
        if not has_last_words(dataset):
            planned = super(BitsSettings, cls).plan  # a dataclass with slots is another class than this body's
            return planned(name, config, data)
        if config.num_fewshot or config.chat:
            key = "eval.chat=true" if config.chat else f"eval.num_fewshot={config.num_fewshot}"
            raise UserError(
                f"{name} is a set of texts, whose last words are asked after the text before them, without exemplars and "
                f"chat template. Leave {name} or {key} out."
            )
        settings = cls.choose(question_set(dataset), config, last_word=True)
        return [PlannedMetric(settings, data_identity(dataset, settings.splits, data))]

    @classmethod
    def choose(cls, dataset: QuestionSet, config: EvalConfig, **further: Any) -> Self:
        """With rationales where they are asked for and the set has them."""
        chosen = super(BitsSettings, cls).choose  # a dataclass with slots is another class than this body's
        return chosen(dataset, config, rationale=config.rationale and dataset.has_rationales, **further)

    def score(self, questions: Questions, subject: Subject) -> Measured:
        """The mean over the items, with each item's bits, bytes and text; see `QuestionSettings.score`."""
        from prune.eval.questions.ask import ask

        items = questions.items
        places = [place for place, item in enumerate(items) if self._is_measured(item)]
        if not places:
            raise UserError(f"{self.name}: none of the {len(items)} items has a rationale. Leave eval.rationale out.")
        texts = [items[place].reply(rationale=self.rationale) for place in places]
        check_texts({place: (text,) for place, text in zip(places, texts, strict=True)}, self.name)
        asked = [replace(items[place], choices=(text,)) for place, text in zip(places, texts, strict=True)]
        answers, clusters = ask(replace(questions, items=asked), subject), cluster_numbers(items)
        rows = [
            {
                "id": places[index],
                "bpb": bits_per_byte(texts[index], logprob),
                "logprob": logprob,
                "num_bytes": len(texts[index].encode()),
                "gold": texts[index],
                "cluster": clusters[places[index]],
            }
            for index, ((logprob, _),) in answers.replies.items()
        ]
        protocol = answers.protocol | {
            "kind": LAST_WORD if self.last_word else "bits per byte of the right answer",
            "template": PAIR_TEMPLATES[self.rationale],
            "skipped_ids": [places[index] for index in answers.protocol["skipped_ids"]],
            "num_without_rationale": len(items) - len(places),
        }
        unit = LAST_WORD if self.last_word else "bits per byte"
        return Measured(metric=_metric([row["bpb"] for row in rows], unit, protocol, self.name), items=rows)

    def overlap(self, seen: Seen, source: Source, tokenizer: Any, skipped: Collection[int]) -> Overlap:
        """Of the items that are measured; see `QuestionSettings.overlap`."""
        items = self.shipped_questions(source).items
        unmeasured = [place for place, item in enumerate(items) if not self._is_measured(item)]
        counted = super(BitsSettings, self).overlap
        return counted(seen, source, tokenizer, {*skipped, *unmeasured})

    def words(self, item: Example) -> Words:
        """Of the question; of a text whose last word is asked all words, this one too, as calibration texts have them."""
        return split_words(item.pair(rationale=False)) if self.last_word else question_words(item.question)

    def _is_measured(self, item: Example) -> bool:
        return item.rationale is not None or not self.rationale


SCORE = BitsSettings


def _metric(values: Sequence[float], unit: str, protocol: dict[str, Any], name: str) -> Metric:
    return Metric(
        value=mean(values),
        stderr=mean_stderr(values),
        num_items=len(values),
        higher_is_better=False,
        chance=None,
        protocol=protocol,
        unit=unit,
        items=ItemColumn(metric=name, keys=["bpb"]),
    )
