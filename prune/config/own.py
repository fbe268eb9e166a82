"""A set of the user's own: where its rows lie, and which columns become text or a question with its answer."""

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from prune.config.checks import require_at_least, unescaped
from prune.errors import UserError

HUB = "hub:"
"""How the path of a hub repository begins: `hub:owner/name`."""


class BadRows(str, Enum):
    """What happens to rows without text where text should be: they are an error, or are left out and counted."""

    error = "error"
    skip = "skip"


@dataclass(kw_only=True, slots=True)
class OwnSetConfig:
    """Rows of the user's own, and how to read them. Empty for the sets that are shipped.

    `question` and `answer` make a question set, `messages` a set of conversations, and without them each row is a text.
    """

    path: str | None = None
    """A file (.txt, .jsonl, .json, .csv, .parquet, each also .gz or .zst), a folder or pattern of such files, a folder that
    save_to_disk wrote, or hub:owner/name."""
    config: str | None = None
    """Configuration of a hub repository."""
    split: str | None = None
    """Split of a hub repository; None is train."""
    revision: str | None = None
    """Commit, tag or branch of a hub repository; None is main."""
    column: str | None = None
    """The column of the text, or a template such as "{title}: {body}"; None is text."""
    question: str | None = None
    """The column of the question, or a template of all that stands before the answer."""
    answer: str | None = None
    """The column of the answer, or a template."""
    rationale: str | None = None
    """The column of the reasoning, or a template."""
    choices: str | None = None
    """The column with the list of allowed answers."""
    answer_kind: str | None = None
    """How a generated answer is compared: number, label or text; None is label where there are choices, else text."""
    messages: str | None = None
    """The column of a conversation: a list of objects with `role` and `content`."""
    eval_path: str | None = None
    """Rows for evaluation, in any form that `path` takes."""
    eval_split: str | None = None
    """Split for evaluation of a hub repository."""
    held_out: int | None = None
    """Number of rows that calibration never draws and evaluation uses."""
    joined: bool | None = None
    """Whether a window takes neighbouring rows, for texts that are shorter than a sequence; null: the lines of one .txt file
    alone."""
    joiner: str = "\n\n"
    """What joins texts into one stream for a perplexity, and neighbouring rows where they are joined."""
    category: str = "own"
    """The group of sets that it belongs to in tables."""
    label: str | None = None
    """Its name in tables and on the page; what identifies a set is its content. None takes the file's name."""

    def __post_init__(self) -> None:
        require_at_least("calib.held_out", self.held_out, 1)
        for name in ("column", "question", "answer", "rationale", "joiner"):
            if (text := getattr(self, name)) is not None:
                setattr(self, name, unescaped(f"calib.{name}", text))
        if self.path is None:
            self._refuse_knobs()
            return
        self._check_columns()
        self._check_evaluation()

    @property
    def usual_answer_kind(self) -> str:
        """What answer_kind is where it is null."""
        return "text" if self.choices is None else "label"

    @property
    def on_hub(self) -> bool:
        """Whether the rows lie on the hub."""
        return self.path is not None and self.path.startswith(HUB)

    def _refuse_knobs(self) -> None:
        """Knobs of an own set say nothing of a shipped one."""
        given = [entry.name for entry in fields(OwnSetConfig) if getattr(self, entry.name) != entry.default]
        if given:
            named = ", ".join(f"calib.{name}" for name in given)
            raise UserError(
                f"{named}: this describes a set of your own, as in calib=file calib.path=rows.jsonl. To compare one with "
                "shipped sets in one line, describe it in a YAML, as in calib=mine,c4 (docs/own.md)."
            )

    def _check_columns(self) -> None:
        if (self.question is None) != (self.answer is None):
            raise UserError("calib.question and calib.answer go together: give both, or a text's calib.column.")
        ways = {"column": self.column, "question and calib.answer": self.question, "messages": self.messages}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise UserError(
                f"calib.{' and calib.'.join(given)} exclude one another: a row is a text, a question or a conversation."
            )
        if self.joined is not None and (self.question or self.messages) is not None:
            raise UserError("calib.joined belongs to texts: questions and conversations fill a sequence by themselves.")
        for name in ("rationale", "choices", "answer_kind"):
            if getattr(self, name) is not None and self.question is None:
                raise UserError(f"calib.{name} belongs to questions: give calib.question and calib.answer too.")

    def _check_evaluation(self) -> None:
        for name in ("config", "split", "revision", "eval_split"):
            if getattr(self, name) is not None and not self.on_hub:
                raise UserError(
                    f"calib.{name} belongs to a hub repository, as in calib.path=hub:owner/name; {self.path} is not one."
                )
        given = [name for name in ("eval_path", "eval_split", "held_out") if getattr(self, name) is not None]
        if len(given) > 1:
            raise UserError(f"calib.{' and calib.'.join(given)} both name the rows for evaluation: give one.")


def own_fields(config: OwnSetConfig) -> dict[str, Any]:
    """The values of an own set by field, whichever configuration class carries them."""
    return {entry.name: getattr(config, entry.name) for entry in fields(OwnSetConfig)}


def own_name(path: str) -> str:
    """A name for rows by their path: `qa` for data/qa.jsonl.gz, `name` for hub:owner/name, `shards` for shards/*.csv."""
    parts = [part for part in path.removeprefix(HUB).split("/") if part and not set(part) & set("*?[")]
    return (parts[-1] if parts else path).split(".")[0] or path
