"""BLEU of few-shot translation by greedy generation, by sacrebleu.

The prompt is the study's few-shot prompt, as for the accuracies: exemplars, then the sentence; the translation is what is
generated up to the next blank line. BLEU is sacrebleu's over the corpus (Post 2018), with its signature in the protocol.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sacrebleu

from prune.config.data import DataConfig
from prune.config.eval import EvalConfig, EvalProtocol
from prune.data.dataset import AnswerKind
from prune.data.registry import has_answers
from prune.eval.metric import Measured, Metric
from prune.eval.questions.settings import GenerationSettings, Questions, asked_by
from prune.eval.subject import Subject


@dataclass(frozen=True, kw_only=True, slots=True)
class TranslationSettings(GenerationSettings):
    """Of a BLEU."""

    kind: ClassVar[str] = "bleu"
    key: ClassVar[str] = "eval.tasks"

    @classmethod
    def asked(cls, config: EvalConfig, data: DataConfig) -> Sequence[str]:
        """The sets of free text."""
        names = asked_by(EvalProtocol.acc, config, data)
        return [name for name in names if has_answers(name, AnswerKind.TEXT, data.sets)]

    def score(self, questions: Questions, subject: Subject) -> Measured:
        """The corpus BLEU, 0 to 100, with every translation and its sentence BLEU as an item; see `QuestionSettings.score`.

        The standard error comes from sacrebleu's bootstrap (fixed seed).
        """
        from prune.eval.questions.ask import ask

        answers = ask(questions, subject)
        translations = {index: said.strip() for index, said in answers.replies.items()}
        protocol = answers.protocol | {"kind": "greedy generation, corpus BLEU"}
        return summarise(translations, [item.target for item in questions.items], protocol)


SCORE = TranslationSettings

NUM_RESAMPLES = 200
"""Corpora drawn with replacement for the standard error."""

NORMAL_95 = 1.959964
"""Half a 95 % interval of a normal distribution, in standard deviations."""


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
        decimals=2,
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
