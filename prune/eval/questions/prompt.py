"""What is asked of a model: the settings of each kind of metric, and the study's few-shot prompt.

Everything that changes a number is a field here, so that it becomes part of the metric's identity and of its protocol.

Source: the perplexity of the SparseGPT and Wanda papers' code; the few-shot generation of arXiv 2410.07461.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from prune.config.eval import EvalBos, TooLong
from prune.data.dataset import AnswerKind, Example

BLOCK_SEPARATOR = "\n\n"
"""Between exemplars, before the question, and where an answer ends."""

MAX_NEW_TOKENS = {AnswerKind.NUMBER: 64, AnswerKind.LABEL: 20, AnswerKind.TEXT: 256}
"""Tokens that an answer may take. The study allows 256 for open answers, which matters to numbers with a rationale only:
without one, a number stands in the first few tokens and the blank line ends it."""

RATIONALE_NEW_TOKENS = 256
"""Tokens that a rationale and its answer may take, as in the study."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionSettings:
    """All that changes a score on a question set, besides the model and the rows. Each kind of score has a subclass."""

    metric: ClassVar[str]
    """What the metrics' names begin with."""
    dataset: str
    split: str
    exemplar_split: str
    num_fewshot: int
    limit: int | None
    """Items; None takes the whole split."""
    bos: EvalBos
    """Where BOS stands in prompts."""
    rationale: bool = False
    """Whether exemplars carry their rationales; accuracies of generated answers only."""
    too_long: TooLong = TooLong.error
    """What becomes of items that do not fit the model's window."""

    @property
    def name(self) -> str:
        """The metric's name."""
        return f"{self.metric}/{self.dataset}"

    @property
    def splits(self) -> list[str]:
        """The splits whose rows count: the one that is asked, and that of the exemplars if there are any."""
        return [self.split, self.exemplar_split] if self.num_fewshot else [self.split]


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSettings(QuestionSettings):
    """Of a score whose answers the model writes."""

    max_new_tokens: int


LATER_SETTINGS: dict[str, object] = {"rationale": False, "too_long": TooLong.error}
"""Settings that came when there were scores already, each at the value that leaves these as they are. At this value it is no
part of a score's identity."""


def few_shot_prefix(exemplars: Iterable[Example], *, rationale: bool = False) -> str:
    """The exemplars with their answers, each followed by a blank line; empty without exemplars."""
    return "".join(example.pair(rationale=rationale) + BLOCK_SEPARATOR for example in exemplars)


def text_hash(text: str) -> str:
    """The SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
