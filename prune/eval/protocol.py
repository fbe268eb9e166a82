"""What is asked of a model: the settings of the two kinds of metric, and the study's few-shot prompt.

Everything that changes a number is a field here, so that it becomes part of the metric's identity and of its protocol.

Source: the perplexity of the SparseGPT and Wanda papers' code; the few-shot generation of arXiv 2410.07461.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from prune.data.dataset import AnswerKind, Example
from prune.eval_config import EvalBos

BLOCK_SEPARATOR = "\n\n"
"""Between exemplars, before the question, and where an answer ends."""

MAX_NEW_TOKENS = {AnswerKind.NUMBER: 64, AnswerKind.LABEL: 20, AnswerKind.TEXT: 256}
"""Tokens that an answer may take. The study allows 256 for open answers, which matters to numbers with a rationale only:
without one, a number stands in the first few tokens and the blank line ends it."""

WEB_NUM_TEXTS = 1100
WEB_NUM_CHUNKS = 256
"""The C4 protocol: the first 256 chunks of the first 1100 documents. Other web text is measured in the same way."""

WHOLE_SPLIT = frozenset({"wikitext2"})
"""Text sets whose whole evaluation split is read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PerplexitySettings:
    """All that changes a perplexity, besides the model and the rows."""

    dataset: str
    split: str
    joiner: str
    num_texts: int | None
    """Documents that are read; None reads all."""
    seq_len: int
    bos: EvalBos
    num_chunks: int | None
    """Chunks that were asked for; None takes all, `max_chunks` at most."""
    max_chunks: int | None
    """Chunks after which the protocol stops in any case; None never stops."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceSettings:
    """All that changes an accuracy by the likelihood of the choices, besides the model and the rows."""

    dataset: str
    split: str
    exemplar_split: str
    num_fewshot: int
    limit: int | None
    """Items; None takes the whole split."""
    always_bos: bool
    """Whether prompts carry BOS even if the tokenizer adds none by itself."""

    @property
    def metric(self) -> str:
        """What its metrics' names begin with."""
        return "acc_mc"


@dataclass(frozen=True, kw_only=True, slots=True)
class TranslationSettings:
    """All that changes a BLEU, besides the model and the rows."""

    dataset: str
    split: str
    exemplar_split: str
    num_fewshot: int
    limit: int | None
    """Items; None takes the whole split."""
    max_new_tokens: int
    always_bos: bool
    """Whether prompts carry BOS even if the tokenizer adds none by itself."""

    @property
    def metric(self) -> str:
        """What its metrics' names begin with."""
        return "bleu"


@dataclass(frozen=True, kw_only=True, slots=True)
class AccuracySettings:
    """All that changes a generated accuracy, besides the model and the rows."""

    dataset: str
    split: str
    exemplar_split: str
    num_fewshot: int
    limit: int | None
    """Items; None takes the whole split."""
    max_new_tokens: int
    always_bos: bool
    """Whether prompts carry BOS even if the tokenizer adds none by itself."""
    scoring: int = 1
    """Version of the scoring in answers.py."""

    @property
    def metric(self) -> str:
        """What its metrics' names begin with."""
        return "acc"


QuestionSettings = AccuracySettings | ChoiceSettings | TranslationSettings
"""Of a metric on a question set."""


def few_shot_prefix(exemplars: Sequence[Example]) -> str:
    """The exemplars with their answers, each followed by a blank line; empty without exemplars."""
    return "".join(example.pair(rationale=False) + BLOCK_SEPARATOR for example in exemplars)


def text_hash(text: str) -> str:
    """The SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
