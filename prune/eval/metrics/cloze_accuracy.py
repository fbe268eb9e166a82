"""Accuracy in cloze form: of an item's choices, the one whose text has the fewest bits per byte after the question.

The question lists neither letters nor choices (questions/cloze.py). Where bits per byte of the right answer are asked for
too (cloze_bits.py, which comes after this module), they are read off the same passes through the model.

Source: arXiv 2406.08446; it divides by characters, here bytes count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prune.config.data import DataConfig
from prune.config.eval import EvalConfig, EvalProtocol
from prune.data.dataset import Example, cluster_numbers
from prune.data.registry import without_open_answers
from prune.eval.metric import ItemColumn, Measured, accuracy, mean
from prune.eval.questions.cloze import ClozeSettings, bits_per_byte, check_texts
from prune.eval.questions.settings import Questions, asked_by
from prune.eval.subject import Subject


@dataclass(frozen=True, kw_only=True, slots=True)
class ClozeAccuracySettings(ClozeSettings):
    """Of an accuracy by the bits per byte of the choices."""

    kind: ClassVar[str] = "acc_cf"
    key: ClassVar[str] = "eval.tasks"

    @classmethod
    def asked(cls, config: EvalConfig, data: DataConfig) -> Sequence[str]:
        """All sets but those whose answers are open; see `Score.asked`."""
        names = asked_by(EvalProtocol.acc_cf, config, data)
        return without_open_answers(names, data.sets)

    def score(self, questions: Questions, subject: Subject) -> Measured:
        """The share whose right choice has the fewest bits per byte, with every choice's as an item; see
        `QuestionSettings.score`."""
        from prune.eval.questions.ask import ask

        items = questions.items
        check_texts({place: item.choices for place, item in enumerate(items)}, self.name)
        answers, clusters = ask(questions, subject), cluster_numbers(items)
        rows = [
            _row(index, [logprob for logprob, _ in replies], items[index]) | {"cluster": clusters[index]}
            for index, replies in answers.replies.items()
        ]
        chance = mean([1 / len(items[index].choices) for index in answers.replies])
        protocol = answers.protocol | {"kind": "bits per byte of the choices", "template": "{question} {choice}"}
        column = ItemColumn(metric=self.name, keys=["correct"])
        return Measured(metric=accuracy([row["correct"] for row in rows], chance, protocol, column), items=rows)


SCORE = ClozeAccuracySettings


def _row(index: int, logprobs: Sequence[float], item: Example) -> dict[str, Any]:
    """What is kept of one item: of equal choices the first counts."""
    bits = [bits_per_byte(text, logprob) for text, logprob in zip(item.choices, logprobs, strict=True)]
    prediction = item.choices[bits.index(min(bits))]
    return {
        "id": index,
        "prediction": prediction,
        "bpb": bits,
        "gold": item.target,
        "correct": prediction == item.target,
    }
