"""Few-shot accuracy by greedy generation.

The study's protocol: after the prompt of questions/ask.py, the answer is what is generated up to the next blank line;
with rationales, what follows "So the answer is" there. It is scored by answers.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from prune.config.data import DataConfig
from prune.config.eval import EvalConfig, EvalProtocol
from prune.data.dataset import AnswerKind, cluster_numbers
from prune.data.registry import has_answers
from prune.eval.metric import ItemColumn, Measured, accuracy, mean
from prune.eval.questions.answers import score
from prune.eval.questions.settings import GenerationSettings, Questions, asked_by
from prune.eval.subject import Subject


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracySettings(GenerationSettings):
    """Of an accuracy by exact match of a generated answer."""

    kind: ClassVar[str] = "acc"
    key: ClassVar[str] = "eval.tasks"
    scoring: int = 1
    """Version of the scoring in answers.py."""

    @classmethod
    def asked(cls, config: EvalConfig, data: DataConfig) -> Sequence[str]:
        """All sets but those of free text, which have a BLEU instead."""
        names = asked_by(EvalProtocol.acc, config, data)
        return [name for name in names if not has_answers(name, AnswerKind.TEXT, data.sets)]

    def score(self, questions: Questions, subject: Subject) -> Measured:
        """The share that is answered right, with every prediction as an item; see `QuestionSettings.score`."""
        from prune.eval.questions.ask import ask

        answers, items = ask(questions, subject), questions.items
        clusters = cluster_numbers(items)
        scored = {
            index: score(prediction, items[index], questions.answer_kind, rationale=self.rationale)
            for index, prediction in answers.replies.items()
        }
        protocol = answers.protocol | {
            "kind": "greedy generation, exact match",
            "scoring": self.scoring,
            "parsed_share": mean([float(one.parsed is not None) for one in scored.values()]),
        }
        chance = mean([1 / len(items[index].choices) for index in scored]) if items[0].choices else None
        column = ItemColumn(metric=self.name, keys=["correct"])
        metric = accuracy([one.correct for one in scored.values()], chance, protocol, column)
        rows = [
            {
                "id": index,
                "prediction": answers.replies[index],
                "parsed": one.parsed,
                "gold": items[index].target,
                "correct": one.correct,
                "cluster": clusters[index],
            }
            for index, one in scored.items()
        ]
        return Measured(metric=metric, items=rows)


SCORE = AccuracySettings
