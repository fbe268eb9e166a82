"""Texts as questions: a text up to its last space is asked, and the word after that space is the answer.

Source: the definitions of lambada_openai and lambada_standard in lm-eval, `text.split(' ')`; the space between them begins
the answer there too.
"""

from functools import partial
from typing import TypeGuard

from prune.data.dataset import AnswerKind, Dataset, Example, QuestionSet, Row, TextSet
from prune.errors import UserError


def has_last_words(dataset: Dataset | None) -> TypeGuard[TextSet]:
    """Whether it is a set of texts whose last words are asked."""
    return isinstance(dataset, TextSet) and dataset.last_word


def as_questions(dataset: Dataset) -> QuestionSet | None:
    """The set as one of questions: itself, or a set of texts with the last words that are asked; None for any other."""
    if isinstance(dataset, QuestionSet):
        return dataset
    if not has_last_words(dataset) or dataset.eval_split is None:
        return None
    return QuestionSet(
        name=dataset.name,
        category=dataset.category,
        hub=dataset.hub,
        example=partial(_last_word, dataset),
        columns=dataset.columns,
        eval_split=dataset.eval_split,
        answer_kind=AnswerKind.TEXT,
        has_rationales=False,
        num_fewshot=0,
        train_split=dataset.train_split,
        hub_note=dataset.hub_note,
        aliases=dataset.aliases,
        own=dataset.own,
    )


def _last_word(dataset: TextSet, row: Row) -> Example:
    """The text before its last space, with the word after it; joined by that space they are the text again."""
    passage, _, word = dataset.text(row).rpartition(" ")
    if not passage.strip():
        raise UserError("its text has no last word after a passage, which must end in a space")
    if not word:
        raise UserError("its text ends in a space, so that its last word is empty")
    return Example(question=passage, answer=word, target=word)
