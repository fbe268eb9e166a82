"""The work of a score: its texts, or its items times their lengths, counted from the rows where these are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from prune.cell.resources import Resources
from prune.config.config import Config
from prune.config.data import DataConfig, DataSource
from prune.config.model import ModelConfig
from prune.data.dataset import AnswerKind, Example, QuestionSet
from prune.data.lookup import dataset_of
from prune.data.registry import DATASETS
from prune.data.sources.source import examples, texts
from prune.errors import UserError
from prune.eval.metric import Score
from prune.eval.metrics.choices import ChoiceSettings
from prune.eval.metrics.cloze_accuracy import ClozeAccuracySettings
from prune.eval.metrics.cloze_bits import BitsSettings
from prune.eval.metrics.lm_eval_task import HarnessSettings
from prune.eval.metrics.perplexity import PerplexitySettings, text_set
from prune.eval.metrics.speed import NUM_GENERATIONS, SpeedSettings
from prune.eval.questions.cloze import ClozeSettings
from prune.eval.questions.settings import GenerationSettings, QuestionSettings, question_set
from prune.models.files import local_folder
from prune.sweep.cost.shape import ModelShape
from prune.sweep.cost.work import Work, forward, total, writing

LOOKED_AT = 100
"""Number of items whose lengths are looked at."""
SAMPLE_CHARS = 20_000
"""Characters of these items, and of a text, that are tokenised."""
CHARS_PER_TOKEN = 4.0
"""Where the tokenizer is not here."""
UNREAD = (1000, 400.0, 20.0, 4)
"""Items, characters of one, of its answer, and choices, of sets whose rows are not here."""
UNREAD_CHUNKS = 256
SECONDS_PER_TOKEN = 1e-5
"""Of making tokens of text and comparing its words with those of the calibration set; not measured."""
SECONDS_PER_ITEM = 2e-3
"""Of lm-eval and of what is kept of an item; not measured."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a score asks of a model, in tokens."""

    num_items: int
    tokens: float
    """Of an item's own question."""
    reply: float
    """Of its right answer, with the rationale where that counts."""
    num_choices: int
    """0 where the answer is open."""


class Lengths:
    """How much text scores ask; rows are read once."""

    def __init__(self) -> None:
        self._resources = Resources()
        self._tokenizers: dict[Path, Any] = {}
        self._asked: dict[tuple[Score, str], Asked] = {}
        self._chunks: dict[tuple[Score, str], int] = {}
        self.unread: dict[str, None] = {}
        """Sets whose rows are not here, so that their sizes are assumed."""

    def chunks(self, score: PerplexitySettings, config: Config) -> int:
        """The chunks of a perplexity."""
        key = score, repr((config.data, config.model.path))
        if key not in self._chunks:
            try:
                self._chunks[key] = self._count_chunks(score, config)
            except UserError:  # rows that are missing or cannot be used: checked elsewhere
                self._chunks[key] = self._assumed_chunks(score)
        return self._chunks[key]

    def _count_chunks(self, score: PerplexitySettings, config: Config) -> int:
        if not is_here(config.data, score.dataset):
            return self._assumed_chunks(score)
        source = self._resources.source(config.data)
        rows = texts(source, text_set(dataset_of(source, score.dataset)), score.split)
        chars, wanted = 0, min(_limits(score), default=10**9)
        ratio = self._chars_per_token(config.model, rows[:20])
        for text in rows[: score.num_texts]:
            chars += len(text) + len(score.joiner)
            if chars / ratio / score.seq_len >= wanted:
                break
        return max(1, min(wanted, int(chars / ratio / score.seq_len)))

    def _assumed_chunks(self, score: PerplexitySettings) -> int:
        self.unread[score.dataset] = None
        return min([*_limits(score), UNREAD_CHUNKS])

    def asked(self, score: QuestionSettings, config: Config) -> Asked:
        """The items of a score on questions."""
        key = score, repr((config.data, config.model.path))
        if key not in self._asked:
            try:
                self._asked[key] = self._count_items(score, config)
            except UserError:  # rows that are missing or cannot be used: checked elsewhere
                self._asked[key] = self.assumed(score.dataset, score.limit)
        return self._asked[key]

    def _count_items(self, score: QuestionSettings, config: Config) -> Asked:
        if not is_here(config.data, score.dataset):
            return self.assumed(score.dataset, score.limit)
        source = self._resources.source(config.data)
        rows = examples(source, question_set(dataset_of(source, score.dataset)), score.split)
        items = [rows[place] for place in range(min(len(rows), score.limit or LOOKED_AT, LOOKED_AT))]
        if isinstance(score, ClozeSettings):
            items = [item.in_cloze_form() for item in items]
        ratio = self._chars_per_token(config.model, [item.question for item in items])
        rationale = score.rationale and any(item.rationale for item in items)
        return Asked(
            num_items=min(len(rows), score.limit or len(rows)),
            tokens=fmean(len(item.question) for item in items) / ratio,
            reply=fmean(map(partial(_reply_chars, rationale=rationale), items)) / ratio,
            num_choices=round(fmean(len(item.choices) for item in items)),
        )

    def assumed(self, name: str, limit: int | None) -> Asked:
        """The sizes that are assumed for a set whose rows are not here."""
        self.unread[name] = None
        num_items, chars, reply, num_choices = UNREAD
        num_items = min(num_items, limit or num_items)
        return Asked(num_items, chars / CHARS_PER_TOKEN, reply / CHARS_PER_TOKEN, num_choices)

    def _chars_per_token(self, model: ModelConfig, sample: Sequence[str]) -> float:
        """Of the text of some rows, by the model's tokenizer.json where that is in a folder."""
        folder = local_folder(model)
        path = folder / "tokenizer.json" if folder is not None else None
        if path is None or not path.is_file():
            return CHARS_PER_TOKEN
        from tokenizers import Tokenizer

        if path not in self._tokenizers:
            self._tokenizers[path] = Tokenizer.from_file(str(path))
        text = "\n".join(sample)[:SAMPLE_CHARS]
        num_tokens = len(self._tokenizers[path].encode(text, add_special_tokens=False).ids)
        return max(1.0, len(text) / max(num_tokens, 1))


def is_here(data: DataConfig, name: str | None = None) -> bool:
    """Whether rows are here to be read, without a network."""
    return data.name is not DataSource.hub or name in data.sets


def _limits(score: PerplexitySettings) -> list[int]:
    return [limit for limit in (score.num_chunks, score.max_chunks) if limit is not None]


def _reply_chars(item: Example, *, rationale: bool) -> int:
    return len(item.reply(rationale=rationale and item.rationale is not None)) + 1


def work_of_scores(scores: Sequence[Score], config: Config, shape: ModelShape, lengths: Lengths) -> tuple[Work, list[str]]:
    """The work of some scores of a cell, and the names of those whose kind is not known here."""
    works, unknown = [], []
    cloze = {(score.dataset, score.num_fewshot) for score in scores if isinstance(score, ClozeAccuracySettings)}
    for score in scores:
        if isinstance(score, PerplexitySettings):
            works.append(_perplexity(score, config, shape, lengths))
        elif isinstance(score, BitsSettings) and not score.rationale and (score.dataset, score.num_fewshot) in cloze:
            continue  # read off the passes of acc_cf
        elif isinstance(score, QuestionSettings):
            works.append(_questions(score, lengths.asked(score, config), config, shape))
        elif isinstance(score, HarnessSettings):
            works.append(_task(score, config, shape, lengths))
        elif isinstance(score, SpeedSettings):
            works.append(_generations(score, shape))
        else:
            unknown.append(score.name)
    return total(works), unknown


def _generations(score: SpeedSettings, shape: ModelShape) -> Work:
    """As often as it is timed, and once to warm up."""
    read = forward(shape, score.batch * score.prompt_tokens, score.prompt_tokens, head=score.batch)
    once = read + writing(shape, score.new_tokens, score.batch, score.prompt_tokens)
    return total([once] * (NUM_GENERATIONS + 1))


def _perplexity(score: PerplexitySettings, config: Config, shape: ModelShape, lengths: Lengths) -> Work:
    num_tokens = lengths.chunks(score, config) * score.seq_len
    return forward(shape, num_tokens, score.seq_len, head=num_tokens) + Work(seconds=SECONDS_PER_TOKEN * num_tokens)


def _questions(score: QuestionSettings, asked: Asked, config: Config, shape: ModelShape) -> Work:
    prefix = score.num_fewshot * (asked.tokens + asked.reply)
    length = prefix + asked.tokens
    beside = Work(seconds=asked.num_items * SECONDS_PER_ITEM)
    beside += forward(shape, prefix, max(prefix, 1))
    if isinstance(score, GenerationSettings):
        return beside + _written(score, asked, config.eval.batch_size, shape, length)
    num_texts = 1 if isinstance(score, BitsSettings) else max(asked.num_choices, 1)
    return beside + _likelihoods(asked, num_texts, shape, length)


def _likelihoods(asked: Asked, num_texts: int, shape: ModelShape, length: float) -> Work:
    """An item goes through the model once, and each of its texts behind it."""
    own = asked.num_items * (asked.tokens + num_texts * asked.reply)
    return forward(shape, own, length, head=asked.num_items * num_texts * asked.reply)


def _written(score: GenerationSettings, asked: Asked, batch_size: int, shape: ModelShape, length: float) -> Work:
    """Items go through the model, then a token at a time up to the blank line that ends an answer."""
    num_new = min(score.max_new_tokens, 2 * asked.reply + 4)
    rows = min(batch_size, asked.num_items)
    read = forward(shape, asked.num_items * asked.tokens, length, head=asked.num_items)
    return read + writing(shape, num_new * asked.num_items / rows, rows, length)


def _task(score: HarnessSettings, config: Config, shape: ModelShape, lengths: Lengths) -> Work:
    """One of lm-eval's tasks, as a set of ours of that name where there is one, asked by the likelihood of the choices."""
    dataset: Any = DATASETS.get(score.task)
    asked = lengths.assumed(score.dataset, score.limit)
    if isinstance(dataset, QuestionSet) and dataset.answer_kind is AnswerKind.LABEL and is_here(config.data):
        lengths.unread.pop(score.dataset, None)
        like = _as_ours(dataset, score)
        asked = lengths.asked(like, config)
    prefix = (score.num_fewshot or 0) * (asked.tokens + asked.reply)
    beside = Work(seconds=asked.num_items * SECONDS_PER_ITEM)
    return beside + _likelihoods(asked, max(asked.num_choices, 1), shape, prefix + asked.tokens)


def _as_ours(dataset: QuestionSet, score: HarnessSettings) -> QuestionSettings:
    return ChoiceSettings(
        dataset=dataset.name,
        split=dataset.eval_split,
        exemplar_split=dataset.train_split,
        num_fewshot=score.num_fewshot or 0,
        limit=score.limit,
        bos=score.bos,
    )
