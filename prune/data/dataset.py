"""What a dataset is: where its rows live, and how a row becomes text or a question with an answer.

A dataset is defined once (one file each in this package) and used for calibration and for evaluation. It knows nothing of
prompts, models or methods. Rows have the column names of the hub's copy, whichever source they come from.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from prune.config.own import OwnSetConfig

Row = Mapping[str, Any]

RATIONALE_END = ". So the answer is"
"""What stands between a rationale and its answer; a prediction with rationale is read after it."""


class Category(str, Enum):
    """The kinds of data that the study compares."""

    PRETRAINING = "pre-training"
    ARITHMETIC = "arithmetic"
    NLI = "NLI"
    COMMONSENSE = "commonsense"
    SENTIMENT = "sentiment"
    TRANSLATION = "translation"
    CONTROL = "control"
    GENERATED = "generated"
    MIXTURE = "mixture"
    OWN = "own"


class AnswerKind(str, Enum):
    """How a generated answer is scored."""

    NUMBER = "number"  # arithmetic, evaluated and compared by value
    LABEL = "label"  # one of the choices, exact match
    TEXT = "text"  # free text (translation)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """Where a dataset lives on the Hugging Face hub."""

    path: str
    """Repository id, with its owner."""
    revision: str
    """Commit, tag or branch that is loaded."""
    config: str | None = None
    """Configuration name, as in `load_dataset(path, config)`."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Split -> one file of the repository, for sets too large to fetch whole."""
    splits: Mapping[str, str] = field(default_factory=dict)
    """Our split name -> the hub's, where they differ (`train` -> `train_r1`)."""
    streaming: bool = False
    """Read row by row over the network and stop when enough were read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cloze:
    """A question without its list of choices, and the texts that may follow it after one space."""

    question: str
    """As `Example.question`, but neither letters nor choices stand in it."""
    choices: tuple[str, ...]
    """The text of every choice, in order."""
    answer: str
    """The text of the right one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One row of a question set in the form that every set shares."""

    question: str
    """All text up to where the answer begins, e.g. ``Question: ...\\nAnswer:``; no space at its end."""
    answer: str
    """What follows the question, after one space, in a prompt without rationale."""
    target: str
    """What a prediction is compared with: the number (its value) or the label. Often the answer itself."""
    choices: tuple[str, ...] = ()
    """Every allowed answer, in order; empty when the answer is open."""
    rationale: str | None = None
    """The reasoning, without a final period; None when this row has none."""
    cluster: str | None = None
    """What it may share with other rows, so that they are not answered independently: a premise, a passage."""
    cloze: Cloze | None = None
    """The row in cloze form; None where the question lists no choices and the answer is a text, so that it is that form."""

    def in_cloze_form(self) -> "Example":
        """The same row, asked in cloze form: the answer, the target and the choices are texts."""
        if self.cloze is None:
            return self
        answer = self.cloze.answer
        return replace(
            self, question=self.cloze.question, answer=answer, target=answer, choices=self.cloze.choices, cloze=None
        )

    def reply(self, *, rationale: bool) -> str:
        """What follows the question in a pair: the answer; with the rationale ``{rationale}. So the answer is {answer}.``"""
        if not rationale:
            return self.answer
        assert self.rationale is not None, "only examples with a rationale are asked for it"
        return f"{self.rationale}{RATIONALE_END} {self.answer}."

    def pair(self, *, rationale: bool) -> str:
        """The question with its answer, one space between them: ``{question} {reply}``.

        Calibration prompts and exemplars of the evaluation are both made of pairs.
        """
        return f"{self.question} {self.reply(rationale=rationale)}"


def cluster_numbers(examples: Sequence[Example]) -> list[int]:
    """For each example the place of the first one that shares its cluster; its own place where it has none."""
    first: dict[str, int] = {}
    return [
        place if example.cluster is None else first.setdefault(example.cluster, place)
        for place, example in enumerate(examples)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSet:
    """A set of raw documents, one per row."""

    name: str
    category: Category
    hub: Hub | None
    """None when the hub has no copy that still loads; `hub_note` then says what to do."""
    text: Callable[[Row], str]
    columns: tuple[str, ...]
    eval_split: str | None
    """Held-out split for perplexity; None when the set has none."""
    joiner: str = "\n\n"
    """What joins rows into one stream for perplexity."""
    rows_are_lines: bool = False
    """Rows are lines of one running text, or too short alone: a calibration window is cut from neighbours, joined."""
    last_word: bool = False
    """Whether bpb asks the last word of each held-out row, given the text before it."""
    train_split: str = "train"
    hub_note: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other copies' name for a column -> ours; the source renames them, so that `columns` holds for every row."""
    own: OwnSetConfig | None = None
    """Where the rows of a user's own set lie, whatever `data` names; None for the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Companion:
    """A second set that carries the rationales of a question set, joined on a key."""

    name: str
    hub: Hub
    key: str
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionSet:
    """A set of questions with answers."""

    name: str
    category: Category
    hub: Hub | None
    example: Callable[[Row], Example]
    columns: tuple[str, ...]
    eval_split: str
    answer_kind: AnswerKind
    has_rationales: bool
    num_fewshot: int = 3
    """Exemplars in the study's evaluation."""
    rows_are_sorted: bool = False
    """Each split holds the rows of one label and then those of the other. They are read from both halves in turn, so that
    exemplars and the first items are not all alike; a row's number is its place in that order."""
    companion: Companion | None = None
    train_split: str = "train"
    hub_note: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other copies' name for a column -> ours; the source renames them, so that `columns` holds for every row."""
    own: OwnSetConfig | None = None
    """Where the rows of a user's own set lie, whatever `data` names; None for the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlSet:
    """Text that carries no meaning, made from a seed: no rows, no source."""

    name: str
    text: Callable[[int, int], str]
    """(seed, number of characters) -> text."""
    category: Category = Category.CONTROL


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedSet:
    """Text that the dense model writes: no rows of its own; those of another set give the prefixes."""

    name: str
    category: Category = Category.GENERATED
    hub: None = None
    own: None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class MixtureSet:
    """Parts of other sets: no rows of its own."""

    name: str
    category: Category = Category.MIXTURE
    own: None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherSet:
    """A calibration set of a kind of its own: see prune/calib/kinds."""

    name: str
    category: Category
    hub: None = None
    own: None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSet:
    """Local rows whose columns only their reader knows, as those of lm-eval's own tasks."""

    name: str
    hub_note: str
    """Why the hub's copy is not read here."""
    hub: None = None
    columns: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    own: None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageSet:
    """Text of one kind in many languages: not a set itself, but each language is one, called `NAME_LANGUAGE`."""

    name: str
    languages: tuple[str, ...]
    """The languages, under the hub's codes."""
    in_language: Callable[[str], TextSet]


Dataset = TextSet | QuestionSet | ControlSet | GeneratedSet | MixtureSet | OtherSet
RowSet = TextSet | QuestionSet | FolderSet
"""What a source has rows of."""
