"""What the scores in cloze form share: a question without its choices and letters, and how likely texts are after it.

A text follows its prompt after one space. Its bits are -log2 p(text | prompt), its bytes those of its UTF-8 form without
that space, whatever tokens it is cut into.

Source: the cloze form (CF) of OLMES, arXiv 2406.08446, without exemplars where none are asked for.
"""

import math
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from prune.config.eval import EvalConfig
from prune.data.dataset import QuestionSet
from prune.data.sources.source import Source
from prune.errors import UserError
from prune.eval.questions.settings import Questions, QuestionSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class ClozeSettings(QuestionSettings, ABC):
    """Of a score on questions in cloze form."""

    @classmethod
    def choose(cls, dataset: QuestionSet, config: EvalConfig, **further: Any) -> Self:
        """Without exemplars where the configuration does not say how many."""
        chosen = super(ClozeSettings, cls).choose  # a dataclass with slots is another class than this body's
        return chosen(dataset, replace(config, num_fewshot=config.num_fewshot or 0), **further)

    def questions(self, source: Source) -> Questions:
        """The rows in cloze form, exemplars too."""
        shipped = self.shipped_questions(source)
        exemplars = {row: exemplar.in_cloze_form() for row, exemplar in shipped.exemplars.items()}
        return replace(shipped, exemplars=exemplars, items=[item.in_cloze_form() for item in shipped.items])


def bits_per_byte(text: str, logprob: float) -> float:
    """-log2 p of a text that is not empty, over its bytes; `logprob` is natural."""
    return -logprob / math.log(2) / len(text.encode())


def check_texts(texts: Mapping[int, tuple[str, ...]], name: str) -> None:
    """Check that every text has a byte to be measured.

    Args:
        texts: the texts of each item, by its place.

    Raises:
        UserError: some are empty.
    """
    empty = [place for place, several in texts.items() if not all(several)]
    if empty:
        shown = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        raise UserError(
            f"{name}: an answer without text has no bits per byte ({len(empty)} of {len(texts)} items: {shown}). Correct or "
            "remove these rows, or leave the set out of eval.tasks."
        )
