"""letters/<set>: how many letters a model answers with, where eval.scores=[letters/<set>] asks."""

from dataclasses import dataclass
from typing import ClassVar

from prune.eval.metric import ItemColumn, Measured, Metric, mean, mean_stderr
from prune.eval.questions.settings import GenerationSettings, Questions
from prune.eval.subject import Subject


@dataclass(frozen=True, kw_only=True, slots=True)
class LettersSettings(GenerationSettings):
    """Of a count of letters; the study's prompts ask for the answers."""

    kind: ClassVar[str] = "letters"

    def score(self, questions: Questions, subject: Subject) -> Measured:
        """The mean count, fewer are better, with each answer as an item."""
        from prune.eval.questions.ask import ask

        answers = ask(questions, subject)
        rows = [{"id": index, "letters": sum(map(str.isalpha, said))} for index, said in answers.replies.items()]
        counts = [float(row["letters"]) for row in rows]
        metric = Metric(
            value=mean(counts),
            stderr=mean_stderr(counts),
            num_items=len(counts),
            higher_is_better=False,
            chance=None,
            protocol=answers.protocol | {"kind": "letters of a greedy answer"},
            unit="letters",
            decimals=1,
            items=ItemColumn(metric=self.name, keys=["letters"]),
        )
        return Measured(metric=metric, items=rows)


SCORE = LettersSettings
