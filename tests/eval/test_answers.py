import sys

import pytest

from prune.data.dataset import AnswerKind, Example
from prune.eval.questions.answers import Scored, after_rationale, parse_label, parse_number, score

LABELS = ("entailment", "neutral", "contradiction")


def number(target: str) -> Example:
    return Example(question="Question: ?\nAnswer:", answer=target, target=target)


def label(target: str) -> Example:
    return Example(question="Label:", answer=target, target=target, choices=LABELS)


@pytest.mark.parametrize(
    ("prediction", "target"),
    [
        (" 42", "42"),
        ("42.0", "42"),
        ("$1,234", "1234"),
        ("48/2 = 24 #### 24", "24"),
        ("####7", "7"),
        ("first #### 1 then #### 2", "2"),
        ("( 8.0 - 3.0 )", "5"),
        ("10 / 3", "3.33333333"),
        ("10 / 3", "3.33333"),
        ("(79 - 15) / (4 - 1)", "21.3333"),
        ("-3", "-3"),
        (" 42\n\nQuestion: What is 1 + 1?\nAnswer: 2", "42"),
        ("7 #### 8\n\n#### 9", "8"),
    ],
)
def test_right_numbers(prediction: str, target: str) -> None:
    assert score(prediction, number(target), AnswerKind.NUMBER).correct


@pytest.mark.parametrize(
    ("prediction", "target"),
    [
        ("43", "42"),
        ("42.001", "42"),
        ("0.1", "0"),
        ("-42", "42"),
        ("3.33", "3.3333333"),
        ("1000001", "1000000"),
        ("0.54", "0.5"),
        ("0.00001", "0"),
    ],
)
def test_wrong_numbers_are_read_and_wrong(prediction: str, target: str) -> None:
    scored = score(prediction, number(target), AnswerKind.NUMBER)
    assert scored.parsed is not None
    assert not scored.correct


@pytest.mark.parametrize(
    "prediction",
    [
        "",
        " ",
        "\n\n42",
        "####",
        "42 apples",
        "42\nQuestion: What",
        "nan",
        "inf",
        "1e3",
        "0x2a",
        "2 ** 5",
        "1/0",
        "()",
        "(" * 5000 + "42" + ")" * 5000,
        "9" * 100_000,
        "*".join(["999999999"] * 60),
        "__import__('os').system('true')",
        "().__class__.__bases__[0]",
        "lambda: 42",
        "[42]",
        "\x00",
        "\ud83d",
        "٤٢",
        "<s>42</s>",
        "-" * 1000 + "42",
    ],
)
def test_what_is_no_arithmetic_is_unreadable_wrong_and_little_work(prediction: str) -> None:
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        scored = score(prediction, number("42"), AnswerKind.NUMBER)
    finally:
        sys.setprofile(before)
    assert scored == Scored(None, False)
    assert 0 < calls < 10_000


def test_a_parsed_number_is_kept_as_a_float() -> None:
    assert score("1/4", number("0.25"), AnswerKind.NUMBER) == Scored(0.25, True)


def test_a_target_that_is_no_number_is_a_fault_of_the_dataset() -> None:
    with pytest.raises(ValueError, match="'many' is not a number"):
        score("42", number("many"), AnswerKind.NUMBER)


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        (" 3 + 4 = 7. So the answer is 7.", "7"),
        (" So the answer is 7", "7"),
        ("Six? So the answer is 6. No, seven. So the answer is 7.", "7"),
        ("3 + 4 = 7.\nSo the answer is 7.\n\nQuestion: So the answer is 8.", "7"),
        (" So the answer is ( 8.0 - 1.0 ).", "( 8.0 - 1.0 )"),
        (" So the answer is ..", "."),
        (" So the answer is", ""),
        (" 7.", ""),
        (" so the answer is 7.", ""),
        ("\n\nSo the answer is 7.", ""),
        ("", ""),
    ],
)
def test_the_answer_after_a_rationale(prediction: str, answer: str) -> None:
    assert after_rationale(prediction) == answer
    scored = score(prediction, number("7"), AnswerKind.NUMBER, rationale=True)
    assert scored == (Scored(7.0, True) if answer not in ("", ".") else Scored(None, False))


def test_a_label_after_a_rationale_has_a_period_behind_it() -> None:
    said = " A cat is an animal. So the answer is entailment."
    assert score(said, label("entailment"), AnswerKind.LABEL, rationale=True) == Scored("entailment", True)
    assert score(said, label("entailment"), AnswerKind.LABEL) == Scored(None, False)
    assert score(" entailment", label("entailment"), AnswerKind.LABEL, rationale=True) == Scored(None, False)
    pair = Example(question="Q:", answer="neutral", target="neutral", choices=LABELS, rationale="Who knows").pair(
        rationale=True
    )
    assert score(pair.removeprefix("Q:"), label("neutral"), AnswerKind.LABEL, rationale=True).correct


def test_labels_match_exactly() -> None:
    assert score(" neutral\n\nPremise: x", label("neutral"), AnswerKind.LABEL) == Scored("neutral", True)
    assert score(" neutral", label("entailment"), AnswerKind.LABEL) == Scored("neutral", False)


@pytest.mark.parametrize(
    "prediction", ["", "Neutral", "neutral.", "neutral\nPremise", "neutral neutral", "\n\nneutral", "neut"]
)
def test_what_is_no_choice_is_no_label(prediction: str) -> None:
    assert parse_label(prediction, LABELS) is None
    assert score(prediction, label("neutral"), AnswerKind.LABEL) == Scored(None, False)


def test_free_text_has_no_accuracy() -> None:
    with pytest.raises(ValueError, match="no accuracy"):
        score("oui", Example(question="French:", answer="oui", target="oui"), AnswerKind.TEXT)


def test_parse_number_is_exact() -> None:
    third = parse_number("1/3")
    assert third is not None
    assert third * 3 == 1
