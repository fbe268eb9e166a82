"""Accuracy by likelihood: of an item's choices, the one that the model finds likeliest after the question.

The prompt is the study's few-shot prompt of questions/ask.py, without an answer. A choice follows it after one space, and
its score is the sum of the log-probabilities of its tokens; `acc_mc_norm` divides by the choice's length in bytes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prune.config.data import DataConfig
from prune.config.eval import EvalConfig, EvalProtocol
from prune.data.dataset import Example, cluster_numbers
from prune.data.registry import without_open_answers
from prune.eval.metric import ItemColumn, Measured, Metric, accuracy, mean
from prune.eval.questions.settings import Questions, QuestionSettings, asked_by
from prune.eval.subject import Subject


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceSettings(QuestionSettings):
    """Of an accuracy by the likelihood of the choices."""

    kind: ClassVar[str] = "acc_mc"
    key: ClassVar[str] = "eval.tasks"

    @classmethod
    def asked(cls, config: EvalConfig, data: DataConfig) -> Sequence[str]:
        """All sets but those whose answers are open."""
        names = asked_by(EvalProtocol.acc_mc, config, data)
        return without_open_answers(names, data.sets)

    def score(self, questions: Questions, subject: Subject) -> Measured:
        """The share whose right choice is the likeliest, with every choice's log-likelihood as an item.

        Beside it stands `acc_mc_norm/<set>`, by log-likelihood per byte. See `QuestionSettings.score`.
        """
        from prune.eval.questions.ask import ask

        answers, items = ask(questions, subject), questions.items
        clusters = cluster_numbers(items)
        rows = [
            _row(index, [reply[0] for reply in replies], items[index]) | {"cluster": clusters[index]}
            for index, replies in answers.replies.items()
        ]
        chance = mean([1 / len(items[index].choices) for index in answers.replies])
        protocol = answers.protocol | {"kind": "likelihood of the choices", "template": "{question} {choice}"}

        def metric(key: str, normalised: str | None) -> Metric:
            column = ItemColumn(metric=self.name, keys=[key])
            return accuracy([row[key] for row in rows], chance, protocol | {"normalised": normalised}, column)

        by_byte = metric("correct_norm", "by length in bytes")
        return Measured(metric=metric("correct", None), items=rows, beside={self.name_of("acc_mc_norm"): by_byte})


SCORE = ChoiceSettings


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
