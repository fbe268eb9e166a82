"""What the scores on question sets share, however an answer is read: how they are planned, the rows they ask, their overlap.

Everything that changes a number is a field of the settings, so that it is part of the score's identity and protocol.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Self

from prune.config.data import DataConfig
from prune.config.eval import Bos, EvalConfig, EvalProtocol, TooLong
from prune.data.dataset import AnswerKind, Dataset, Example, QuestionSet
from prune.data.identity import data_identity
from prune.data.last_words import as_questions, has_last_words
from prune.data.lookup import dataset_of
from prune.data.registry import find_dataset, known_dataset, with_questions
from prune.data.sources.own import further_reading
from prune.data.sources.source import Source, examples
from prune.errors import UserError
from prune.eval.metric import Measured, PlannedMetric
from prune.eval.overlap import Overlap, Seen, Words, count_overlap, question_words
from prune.eval.questions.chat import Prompts, chat_prompts, plain_prompts
from prune.eval.questions.prompt import MAX_NEW_TOKENS, RATIONALE_NEW_TOKENS, few_shot_prefix
from prune.eval.subject import Subject


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionSettings(ABC):
    """All that changes a score on a question set, besides the model and the rows. Each kind of score has a subclass."""

    kind: ClassVar[str]
    """What the names of its scores begin with."""
    key: ClassVar[str] = "eval.scores"
    dataset: str
    split: str
    exemplar_split: str
    num_fewshot: int
    limit: int | None
    """Items; None takes the whole split."""
    bos: Bos
    """Where BOS stands in prompts."""
    rationale: bool = False
    """Whether exemplars carry their rationales, and what is written or measured begins with one."""
    too_long: TooLong = TooLong.error
    """What becomes of items that do not fit the model's window."""
    chat: bool = False
    """Whether the questions are put in the model's chat template."""

    @classmethod
    def asked(cls, config: EvalConfig, data: DataConfig) -> Sequence[str]:
        """The sets that eval.scores names; see `Score.asked`."""
        return config.further(cls.kind)

    @abstractmethod
    def score(self, questions: "Questions", subject: Subject) -> Measured:
        """The score on these questions; an item's id is its place among them.

        Raises:
            UserError: as `prune.eval.questions.ask.ask`.
        """

    @property
    def name(self) -> str:
        """The metric's name: `acc/gsm8k`, in chat form `acc_chat/gsm8k`."""
        return self.name_of(self.kind)

    def name_of(self, kind: str) -> str:
        """The name of a score of this kind on the same questions."""
        return f"{kind}{'_chat' if self.chat else ''}/{self.dataset}"

    @property
    def splits(self) -> list[str]:
        """The splits whose rows count: the one that is asked, and that of the exemplars if there are any."""
        return [self.split, self.exemplar_split] if self.num_fewshot else [self.split]

    @classmethod
    def plan(cls, name: str, config: EvalConfig, data: DataConfig) -> list[PlannedMetric]:
        """The score on one set; see `Score.plan`."""
        dataset = find_dataset(name, data.sets)
        if has_last_words(dataset):
            others = ",".join(other for other in config.tasks if other != name)
            raise UserError(
                f"{name} is a set of texts, whose last words bpb alone asks; acc, acc_mc, acc_cf and other scores of "
                f"questions are not applicable. Add bpb to eval.protocols, or leave {name} out: eval.tasks=[{others}]"
            )
        if not isinstance(dataset, QuestionSet):
            raise UserError(f"{name} is not a set of questions. {with_questions()}")
        settings = cls.choose(dataset, config)
        rows = data_identity(dataset, settings.splits, data) | further_reading(dataset.own)
        return [PlannedMetric(settings, rows)]

    @classmethod
    def choose(cls, dataset: QuestionSet, config: EvalConfig, **further: Any) -> Self:
        """The settings for a set; `further` are fields that the kind adds."""
        return cls(
            dataset=dataset.name,
            split=dataset.eval_split,
            exemplar_split=dataset.train_split,
            num_fewshot=dataset.num_fewshot if config.num_fewshot is None else config.num_fewshot,
            limit=config.limit,
            bos=Bos.tokenizer if config.chat else config.bos.before_text,  # a chat template puts BOS where it belongs
            too_long=config.too_long,
            chat=config.chat,
            **further,
        )

    def reads(self, data: DataConfig) -> list[tuple[QuestionSet, str]]:
        """The set's splits; see `Score.reads`."""
        dataset = question_set(find_dataset(self.dataset, data.sets))
        return [(dataset, split) for split in self.splits]

    def check_rows(self, source: Source) -> int:
        """Check that there are enough exemplars; see `Score.check_rows`."""
        self.exemplars(source)
        return len(source.rows(self._set(source), self.split))

    def measure(self, subject: Subject, source: Source) -> Measured:
        """The score on the rows of the source, with the first prompt in its item; see `Score.measure`."""
        questions = self.questions(source)
        measured = self.score(questions, subject)
        prompts = questions.written(subject.tokenizer)
        return measured.with_prompt(prompts.texts[measured.items[0]["id"]]).with_protocol(prompts.protocol)

    def questions(self, source: Source) -> "Questions":
        """What is asked of the rows of the source."""
        return self.shipped_questions(source)

    def shipped_questions(self, source: Source) -> "Questions":
        """The rows of the source in the form that their set gives them, in which rows are compared."""
        dataset = self._set(source)
        items = list(examples(source, dataset, self.split)[: self.limit])
        return Questions(self, self.exemplars(source), items, dataset.answer_kind)

    def exemplars(self, source: Source) -> dict[int, Example]:
        """The first rows of the training split, by their index; with rationales, the first that have one.

        Raises:
            UserError: there are too few, or whatever the source has to say about its rows.
        """
        if self.num_fewshot == 0:
            return {}
        rows = examples(source, self._set(source), self.exemplar_split)
        usable = ((row, one) for row, one in enumerate(rows) if one.rationale is not None or not self.rationale)
        chosen = dict(islice(usable, self.num_fewshot))
        if len(chosen) < self.num_fewshot:
            raise UserError(
                f"{self.name}: eval.num_fewshot={self.num_fewshot}, but the {self.exemplar_split} split "
                f"(data={source.name}) has {len(chosen)} rows{' with a rationale' if self.rationale else ''}. "
                f"Ask for at most {len(chosen)}."
            )
        return chosen

    def overlap(self, seen: Seen, source: Source, tokenizer: Any, skipped: Collection[int]) -> Overlap:
        """By the words of the questions, exemplars among them; see `Score.overlap`."""

        def is_shared(split: str, row: int, example: Example) -> bool:
            return seen.has_row(self.dataset, split, row, self.words(example))

        questions = self.shipped_questions(source)
        asked = {row: item for row, item in enumerate(questions.items) if row not in skipped}
        return count_overlap(
            [self.words(item) for item in asked.values()],
            [is_shared(self.split, row, item) for row, item in asked.items()],
            seen,
            [is_shared(self.exemplar_split, row, exemplar) for row, exemplar in questions.exemplars.items()],
        )

    def words(self, item: Example) -> Words:
        """The words of an item that are looked for in a calibration set."""
        return question_words(item.question)

    def _set(self, source: Source) -> QuestionSet:
        return question_set(dataset_of(source, self.dataset))


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSettings(QuestionSettings):
    """Of a score whose answers the model writes."""

    max_new_tokens: int

    @classmethod
    def choose(cls, dataset: QuestionSet, config: EvalConfig, **further: Any) -> Self:
        """With the tokens that an answer may take."""
        num_tokens = RATIONALE_NEW_TOKENS if config.rationale else MAX_NEW_TOKENS[dataset.answer_kind]
        chosen = super(GenerationSettings, cls).choose  # a dataclass with slots is another class than this body's
        return chosen(dataset, config, max_new_tokens=num_tokens, rationale=config.rationale, **further)


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked of a model."""

    settings: QuestionSettings
    exemplars: Mapping[int, Example]
    """What stands before each question, in order, by row of the training split."""
    items: Sequence[Example]
    answer_kind: AnswerKind
    """How an answer is read."""

    def prompts(self) -> list[str]:
        """The plain prompt of each item, which ends where its answer (or the rationale before it) begins."""
        prefix = self.prefix()
        return [prefix + item.question for item in self.items]

    def written(self, tokenizer: Any) -> Prompts:
        """The prompts as a model reads them, plain or in the tokenizer's chat template.

        Raises:
            NotApplicableError: the tokenizer has no chat template, or its template refuses the turns.
            UserError: the tokenizer has not the BOS that is asked for.
        """
        settings = self.settings
        if settings.chat:
            return chat_prompts(self.exemplars.values(), self.items, tokenizer, rationale=settings.rationale)
        return plain_prompts(self.prompts(), settings.bos, tokenizer, settings.name)

    def prefix(self) -> str:
        """The exemplars with their answers, which every prompt begins with."""
        return few_shot_prefix(self.exemplars.values(), rationale=self.settings.rationale)


def asked_by(protocol: EvalProtocol, config: EvalConfig, data: DataConfig) -> list[str]:
    """The sets of eval.tasks that a protocol scores. Beside bpb no other is meant for texts whose last words are asked."""
    if protocol not in config.protocols:
        return []
    if protocol is EvalProtocol.bpb or EvalProtocol.bpb not in config.protocols:
        return config.tasks
    return [name for name in config.tasks if not has_last_words(known_dataset(name, data.sets))]


def question_set(dataset: Dataset) -> QuestionSet:
    """The dataset as one of questions."""
    found = as_questions(dataset)
    assert found is not None, "the plan checks this"
    return found
