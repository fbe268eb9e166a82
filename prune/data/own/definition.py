"""A set of the user's own as a dataset like the shipped ones: its columns become texts, or questions with answers."""

import string
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from prune.config.own import OwnSetConfig, own_fields
from prune.data.dataset import AnswerKind, Category, Dataset, Example, QuestionSet, Row, TextSet
from prune.data.formatting.arithmetic import evaluate
from prune.data.formatting.labels import lettered_example
from prune.data.formatting.rationale import join_steps
from prune.data.own.columns import columns_of, fill, is_template, shorten
from prune.data.privacy import quote_names
from prune.data.sources.files import TEXT_COLUMN, ending_of
from prune.data.sources.own import HELD_OUT
from prune.errors import UserError

ROLES = ("system", "user", "assistant", "tool")


def define(name: str, config: OwnSetConfig) -> Dataset:
    """The dataset `name`, as `config` describes it.

    Raises:
        UserError: a template is broken, or a word is unknown.
    """
    own = OwnSetConfig(**own_fields(config))
    if own.messages is not None:
        return _text_set(name, own, partial(_conversation, own.messages), (own.messages,))
    if own.question is None:
        column = own.column or TEXT_COLUMN
        return _text_set(name, own, partial(_document, column), columns_of(column))
    assert own.answer is not None, "OwnSetConfig checks this"
    used = [part for part in (own.question, own.answer, own.rationale, own.choices) if part is not None]
    return QuestionSet(
        name=name,
        category=_category(own),
        hub=None,
        example=partial(_example, own),
        columns=tuple(dict.fromkeys(column for part in used for column in columns_of(part))),
        eval_split=HELD_OUT,
        answer_kind=_answer_kind(own),
        has_rationales=own.rationale is not None,
        own=own,
    )


def _document(column: str, row: Row) -> str:
    """A row as a document; a number is text in a template, and none by itself."""
    if not is_template(column) and isinstance(row.get(column), int | float):
        raise UserError(f"column {column} holds {shorten(row[column])}, which is not text")
    return fill(column, row)


def _text_set(name: str, own: OwnSetConfig, text: Callable[[Row], str], columns: tuple[str, ...]) -> TextSet:
    has_evaluation = own.eval_path is not None or own.eval_split is not None or own.held_out is not None
    return TextSet(
        name=name,
        category=_category(own),
        hub=None,
        text=text,
        columns=columns,
        eval_split=HELD_OUT if has_evaluation else None,
        joiner=own.joiner,
        rows_are_lines=_is_running_text(own) if own.joined is None else own.joined,
        own=own,
    )


def _is_running_text(own: OwnSetConfig) -> bool:
    """Whether rows are the lines of one text file."""
    return not own.on_hub and own.path is not None and (ending_of(Path(own.path)) or "").startswith(".txt")


def _category(own: OwnSetConfig) -> Category:
    try:
        return Category(own.category)
    except ValueError:
        known = ", ".join(category.value for category in Category)
        raise UserError(f"calib.category={own.category} is unknown. Those that exist: {known}.") from None


def _answer_kind(own: OwnSetConfig) -> AnswerKind:
    try:
        return AnswerKind(own.usual_answer_kind if own.answer_kind is None else own.answer_kind)
    except ValueError:
        known = ", ".join(kind.value for kind in AnswerKind)
        raise UserError(f"calib.answer_kind={own.answer_kind} is unknown. Those that exist: {known}.") from None


def _example(own: OwnSetConfig, row: Row) -> Example:
    """A row as a question; a column of questions gets the form of the shipped sets, a template is taken as it is."""
    assert own.question is not None and own.answer is not None, "a text set has no examples"
    rationale = None if own.rationale is None else join_steps(fill(own.rationale, row).splitlines())
    question, answer = fill(own.question, row), fill(own.answer, row).strip()
    if not answer:
        raise UserError(f"the answer ({own.answer}) is empty")
    if own.choices is None:
        whole = question.rstrip() if is_template(own.question) else f"Question: {question.strip()}\nAnswer:"
        return Example(question=whole, answer=answer, target=_target(own, answer), rationale=rationale)
    options = _options(own.choices, row)
    if is_template(own.question):
        right = _right_option(answer, options)
        return Example(question=question.rstrip(), answer=right, target=right, choices=tuple(options), rationale=rationale)
    letters = list(string.ascii_uppercase[: len(options)])
    right = answer if answer in letters and answer not in options else letters[options.index(_right_option(answer, options))]
    return lettered_example(question, {"label": letters, "text": options}, right, rationale)


def _target(own: OwnSetConfig, answer: str) -> str:
    if _answer_kind(own) is AnswerKind.NUMBER and evaluate(answer.replace(",", "")) is None:
        raise UserError(f"the answer {shorten(answer)} is not a number (calib.answer_kind=number)")
    return answer.replace(",", "") if _answer_kind(own) is AnswerKind.NUMBER else answer


def _options(column: str, row: Row) -> list[str]:
    if column not in row:
        raise UserError(f"column {column} is missing; this row has {quote_names(row)}")
    options = row[column]
    if not isinstance(options, list) or len(options) < 2 or not all(isinstance(option, str) for option in options):
        raise UserError(f"column {column} holds {shorten(options)}; it must be a list of two texts or more")
    if len(options) > len(string.ascii_uppercase):
        raise UserError(f"column {column} holds {len(options)} choices; at most {len(string.ascii_uppercase)} are allowed")
    return options


def _right_option(answer: str, options: Sequence[str]) -> str:
    """The right option: the answer is its text, or its index from 0."""
    if answer in options:
        return answer
    if answer.isascii() and answer.isdigit() and int(answer) < len(options):
        return options[int(answer)]
    raise UserError(f"the answer {shorten(answer)} is neither one of the choices nor the index of one")


def conversation(column: str, row: Row) -> list[dict[str, str]]:
    """The turns of a conversation, each with `role` and `content`.

    Raises:
        UserError: the column holds something else.
    """
    if column not in row:
        raise UserError(f"column {column} is missing; this row has {quote_names(row)}")
    turns = row[column]
    if not isinstance(turns, list) or not turns:
        raise UserError(f"column {column} holds {shorten(turns)}; it must be a list of turns")
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
            raise UserError(f"turn {number} of column {column} must be an object with role and content")
        if turn["role"] not in ROLES:
            role = shorten(turn["role"])
            raise UserError(f"turn {number} of column {column} has the role {role}; it must be one of {', '.join(ROLES)}")
        if not isinstance(turn["content"], str):
            raise UserError(f"turn {number} of column {column} has {shorten(turn['content'])} as content, which is not text")
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def _conversation(column: str, row: Row) -> str:
    return "\n".join(turn["content"] for turn in conversation(column, row))
