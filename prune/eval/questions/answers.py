"""Generated text -> a parsed answer, and whether it is right. Pure text; model output is never executed."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from prune.data.dataset import RATIONALE_END, AnswerKind, Example
from prune.data.formatting.arithmetic import evaluate
from prune.data.privacy import quote
from prune.eval.questions.prompt import BLOCK_SEPARATOR

ANSWER_MARK = "####"
"""What GSM8K writes before a final answer."""

RATIONALE_MARK = RATIONALE_END.removeprefix(". ")
"""What the exemplars write between a rationale and its answer: "So the answer is"."""

TOLERANCE = Fraction(5, 10**6)
"""Relative distance at which fractions are equal: gold values are written with six significant digits (MAWPS: 21.3333)."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a prediction says, None where it cannot be read, and whether that is the target."""

    parsed: str | float | None
    correct: bool


def score(prediction: str, example: Example, kind: AnswerKind, *, rationale: bool = False) -> Scored:
    """The prediction read as an answer of this kind and compared with the example's target.

    Args:
        rationale: whether the answer stands behind a rationale.

    Raises:
        ValueError: the kind has no accuracy (free text), or the target is no number where one is expected. Both are faults
            of a dataset's definition.
    """
    prediction = after_rationale(prediction) if rationale else prediction
    if kind is AnswerKind.LABEL:
        label = parse_label(prediction, example.choices)
        return Scored(label, label is not None and label == example.target)
    if kind is AnswerKind.NUMBER:
        number, target = parse_number(prediction), parse_number(example.target)
        if target is None:
            raise ValueError(f"the target {quote(example.target)} is not a number")
        return Scored(None if number is None else float(number), number is not None and same_number(number, target))
    raise ValueError(f"answers of kind {kind.value} have no accuracy")


def after_rationale(prediction: str) -> str:
    """What follows the last "So the answer is" before the first blank line, without its final period; empty without one."""
    _, mark, answer = _first_block(prediction).rpartition(RATIONALE_MARK)
    return answer.strip().removesuffix(".") if mark else ""


def parse_label(prediction: str, choices: Sequence[str]) -> str | None:
    """The choice that the answer is, letter for letter, spaces around it aside; None when it is none of them.

    As in the study: "Entailment" or "A." is not "entailment" or "A".
    """
    answer = _first_block(prediction).strip()
    return answer if answer in choices else None


def parse_number(prediction: str) -> Fraction | None:
    """The value of the arithmetic that the answer is, None when it is no arithmetic or exceeds the parser's bounds.

    The answer is the text up to the first blank line, and there what follows the last "####" if there is one.
    """
    return evaluate(_first_block(prediction).rpartition(ANSWER_MARK)[2])


def same_number(left: Fraction, right: Fraction) -> bool:
    """Whether two values are equal, whole numbers exactly, others up to rounding."""
    if left.denominator == right.denominator == 1:
        return left == right
    return abs(left - right) <= TOLERANCE * max(abs(left), abs(right))


def _first_block(prediction: str) -> str:
    return prediction.partition(BLOCK_SEPARATOR)[0]
