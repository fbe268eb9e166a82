"""What several question sets share: class labels, and options under their letters."""

from collections.abc import Mapping, Sequence

from prune.data.dataset import Cloze, Example
from prune.data.privacy import quote, quote_names
from prune.errors import UserError


def label_name(value: object, names: tuple[str, ...]) -> str:
    """The label's name; `value` is its index in `names` (as the hub stores it) or the name itself.

    Raises:
        UserError: the row has no label (-1 on the hub, or empty), or an unknown one.
    """
    if isinstance(value, str) and value in names:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    if value in (-1, "", "-", None):
        raise UserError("this row has no label; rows without label cannot be used")
    raise UserError(
        f"label {quote(value)} is unknown; it must be one of {', '.join(names)} or their index 0 to {len(names) - 1}"
    )


def choice(value: str, choices: tuple[str, ...]) -> str:
    """`value`, which must be one of the choices.

    Raises:
        UserError: the row has no answer (as in test splits whose answers are kept secret), or an unknown one.
    """
    if not value:
        raise UserError("this row has no answer; this split's answers are not published, so it cannot be used")
    if value not in choices:
        raise UserError(f"answer {quote(value)} is not one of the choices {quote_names(choices)}")
    return value


def option_lines(labels: Sequence[str], options: Sequence[str]) -> str:
    """One line for each option: "A. first"."""
    return "\n".join(f"{label}. {option}" for label, option in zip(labels, options, strict=True))


def cloze(question: str, texts: Sequence[str], right: int) -> Cloze:
    """The cloze form of a question with the texts of its choices; `right` is the place of the right one."""
    choices = tuple(text.strip() for text in texts)
    return Cloze(question=question, choices=choices, answer=choices[right])


def lettered_example(
    question: str, options: Mapping[str, Sequence[str]], answer: str, rationale: str | None = None
) -> Example:
    """A question with its options under their letters; the letters are the choices, in cloze form the options.

    Args:
        options: `label` and `text` of each option, as the hub stores them.
        answer: the letter of the right one.
    """
    letters = tuple(options["label"])
    answer = choice(answer, letters)
    return Example(
        question=f"Question: {question.strip()}\nChoices:\n{option_lines(letters, options['text'])}\nAnswer:",
        answer=answer,
        target=answer,
        choices=letters,
        rationale=rationale,
        cloze=cloze(f"Question: {question.strip()}\nAnswer:", options["text"], letters.index(answer)),
    )
