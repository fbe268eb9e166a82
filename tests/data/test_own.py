"""Sets of the user's own: columns and templates become texts and questions; bad rows are named by file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from prune.config.calib import CalibConfig
from prune.config.own import BadRows
from prune.data.dataset import AnswerKind, QuestionSet, TextSet
from prune.data.identity import own_identity
from prune.data.registry import calibration_dataset
from prune.data.scan import Scan, scan
from prune.data.sources.own import HELD_OUT, held_out_rows
from prune.data.sources.source import ReadOnce, SampleSource, examples, texts
from prune.errors import UserError

QUESTION = {"q": "How many?", "a": "7", "why": "Three and four. That is seven", "opts": ["6", "7"], "kind": "sum"}


def _write(path: Path, *rows: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _calib(path: str, **knobs: Any) -> CalibConfig:
    return CalibConfig(name="file", path=path, **knobs)


def _texts(path: str, **knobs: Any) -> list[str]:
    dataset = calibration_dataset(_calib(path, **knobs))
    assert isinstance(dataset, TextSet)
    return list(texts(ReadOnce(SampleSource()), dataset, "train"))


def _examples(path: str, **knobs: Any) -> tuple[QuestionSet, list[Any]]:
    dataset = calibration_dataset(_calib(path, **knobs))
    assert isinstance(dataset, QuestionSet)
    return dataset, list(examples(ReadOnce(SampleSource()), dataset, "train"))


def _scan(path: str, **knobs: Any) -> Scan:
    dataset = calibration_dataset(_calib(path, **knobs))
    assert isinstance(dataset, TextSet | QuestionSet)
    return scan(ReadOnce(SampleSource()), dataset, "train", own_identity(dataset, ["train"]))


def test_a_text_is_a_column_or_a_template(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", {"text": "x", "title": "T", "n": 3}, {"text": "y", "title": "U", "n": 4.5})
    assert _texts(path) == ["x", "y"]
    assert _texts(path, column="title") == ["T", "U"]
    assert _texts(path, column="{title} ({n})\n{text}") == ["T (3)\nx", "U (4.5)\ny"]


def test_a_question_has_the_form_of_the_shipped_sets(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", QUESTION)
    dataset, (example,) = _examples(path, question="q", answer="a", rationale="why", answer_kind="number")
    assert dataset.answer_kind is AnswerKind.NUMBER and dataset.has_rationales
    assert example.pair(rationale=True) == "Question: How many?\nAnswer: Three and four. That is seven. So the answer is 7."
    _, (example,) = _examples(path, question="q", answer="a", choices="opts")
    assert example.question == "Question: How many?\nChoices:\nA. 6\nB. 7\nAnswer:"
    assert (example.answer, example.choices) == ("B", ("A", "B"))
    told = example.in_cloze_form()
    assert (told.question, told.answer, told.choices) == ("Question: How many?\nAnswer:", "7", ("6", "7"))
    _, (example,) = _examples(path, question="{kind}: {q} =", answer="{a}!", choices=None)
    assert example.pair(rationale=False) == "sum: How many? = 7!"


@pytest.mark.parametrize(("answer", "letter"), [("red", "A"), ("blue", "B"), ("B", "B"), (1, "B")])
def test_the_right_choice_is_its_text_its_letter_or_its_index(tmp_path: Path, answer: object, letter: str) -> None:
    path = _write(tmp_path / "a.jsonl", {"q": "?", "a": answer, "o": ["red", "blue"]})
    _, (example,) = _examples(path, question="q", answer="a", choices="o")
    assert example.answer == letter


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"column": "text", "question": "q", "answer": "a"}, "exclude one another"),
        ({"question": "q"}, "go together"),
        ({"rationale": "why"}, "belongs to questions"),
        ({"split": "train"}, "belongs to a hub repository"),
        ({"held_out": 2, "eval_path": "x"}, "both name the rows for evaluation"),
        ({"held_out": 0}, "calib.held_out=0"),
        ({"category": "poems"}, "calib.category=poems is unknown. Those that exist: pre-training"),
        ({"question": "q", "answer": "a", "answer_kind": "essay"}, "calib.answer_kind=essay is unknown"),
        ({"column": "{title"}, "is no template"),
        ({"column": "{}"}, "is no template"),
        ({"column": "{title!r}"}, "is no template"),
    ],
)
def test_wrong_knobs(tmp_path: Path, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        calibration_dataset(_calib(_write(tmp_path / "a.jsonl", QUESTION), **knobs))


def test_knobs_of_an_own_set_on_a_shipped_one() -> None:
    with pytest.raises(UserError, match=r"calib\.column, calib\.label: this describes a set of your own"):
        CalibConfig(name="c4", column="text", label="mine")
    with pytest.raises(UserError, match="calib=file needs the rows"):
        CalibConfig(name="file")


HALF = "\ud83d"
BAD: list[tuple[object, str]] = [
    ({"text": None}, "column text holds nothing"),
    ({"text": float("nan")}, "column text holds nan"),
    ({"text": ["a"]}, "column text holds a list"),
    ({"text": {"value": "a"}}, "column text holds an object"),
    ({"text": True}, "column text holds True"),
    ({"text": f"a{HALF}b"}, "character 1 is half of a surrogate pair"),
    ({"body": "a"}, "column text is missing; this row has body"),
    ({"version": 1, "data": [{"text": "a"}]}, "column text is missing; this row has version, data"),
    ({"text": 3}, "column text holds 3"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, row: object, reason: str) -> None:
    path = _write(tmp_path / "a.jsonl", {"text": "x"}, {"text": "x"}, row, {"text": "y"}, row)
    found = _scan(path)
    assert (found.num_rows, found.bad_rows, found.num_duplicates) == (5, (2, 4), 1)
    assert f"{path}, line 3: {reason}" in found.reasons[0]
    with pytest.raises(UserError, match=r"line 3.*So are 1 more.*calib\.bad_rows=skip"):
        found.check(BadRows.error)
    found.check(BadRows.skip)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"q": "?", "a": ""}, "the answer .a. is empty"),
        ({"q": "?", "a": "many"}, "the answer 'many' is not a number"),
        ({"q": None, "a": "1"}, "column q holds nothing"),
        ({"q": "?", "a": "inf"}, "the answer 'inf' is not a number"),
        ({"q": "?", "a": float("nan")}, "column a holds nan"),
    ],
)
def test_a_bad_question(tmp_path: Path, row: object, reason: str) -> None:
    path = _write(tmp_path / "a.jsonl", {"q": "?", "a": "1,000"}, row)
    found = _scan(path, question="q", answer="a", answer_kind="number")
    assert found.bad_rows == (1,)
    with pytest.raises(UserError, match=reason):
        found.check(BadRows.error)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ("hello", "it must be a list of turns"),
        ([], "it must be a list of turns"),
        ([{"role": "user"}], "turn 1 of column messages must be an object with role and content"),
        ([{"role": "human", "content": "x"}], "has the role 'human'; it must be one of system, user"),
        ([{"role": "user", "content": None}], "has nothing .null. as content"),
    ],
)
def test_conversations_are_read_and_checked(tmp_path: Path, turns: object, reason: str) -> None:
    right = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    path = _write(tmp_path / "a.jsonl", {"messages": right}, {"messages": turns})
    found = _scan(path, messages="messages")
    assert found.bad_rows == (1,)
    with pytest.raises(UserError, match=reason):
        found.check(BadRows.error)


QUESTIONS = {"question": "How many?", "answer": "3"}
TURNS = {"turns": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("row", "knobs", "told"),
    [
        (QUESTIONS, {}, "They were read by calib.column='text'."),
        (TURNS, {}, "They were read by calib.column='text'."),
        ({"body": "a"}, {"column": "{title}: {body}"}, "They were read by calib.column='{title}: {body}'."),
        (QUESTIONS, {"question": "q", "answer": "a"}, "They were read by calib.question='q', calib.answer='a'."),
        (TURNS, {"messages": "messages"}, "They were read by calib.messages='messages'."),
    ],
)
@pytest.mark.parametrize("policy", list(BadRows))
def test_rows_that_are_all_of_another_form_are_told_the_keys(
    tmp_path: Path, row: object, knobs: dict[str, str], told: str, policy: BadRows
) -> None:
    path = _write(tmp_path / "a.jsonl", row, row)
    dataset = calibration_dataset(_calib(path, **knobs))
    assert isinstance(dataset, TextSet | QuestionSet) and dataset.own is not None
    with pytest.raises(UserError) as caught:
        _scan(path, **knobs).check(policy, dataset.own)
    message = str(caught.value)
    assert message.startswith("None of the 2 rows can be used; the first: ") and told in message
    assert all(f"calib.{key}=NAME" in message for key in ("column", "question", "answer", "messages"))


def test_a_scan_is_remembered_with_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNE_CACHE_DIR", str(tmp_path / "cache"))
    path = _write(tmp_path / "a.jsonl", {"text": "x"}, {"text": None})
    found = _scan(path)
    with monkeypatch.context() as context:
        context.setattr("prune.data.scan._read", None)
        assert _scan(path) == found
        assert _scan(_write(tmp_path / "b/c.jsonl", {"text": "x"}, {"text": None})).bad_rows == (1,)
    _write(tmp_path / "a.jsonl", {"text": "x"}, {"text": "y"})
    assert _scan(path).bad_rows == ()


def test_rows_that_are_held_out(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", *({"text": str(number)} for number in range(10)))
    own = _calib(path, held_out=3)
    assert len(held_out_rows(own, 10)) == 3
    assert held_out_rows(own, 10) == held_out_rows(_calib(path, held_out=3, column="text"), 10)
    with pytest.raises(UserError, match="leaves nothing of the 3 rows"):
        held_out_rows(own, 3)
    dataset = calibration_dataset(own)
    assert isinstance(dataset, TextSet) and dataset.eval_split == HELD_OUT
    held = list(texts(ReadOnce(SampleSource()), dataset, HELD_OUT))
    assert held == [str(number) for number in sorted(held_out_rows(own, 10))]


def test_what_identifies_an_own_set(tmp_path: Path) -> None:
    rows = [{"text": "x", "title": "T"}, {"text": "y", "title": "U"}]
    path = _write(tmp_path / "a.jsonl", *rows)
    moved = _write(tmp_path / "other/b.jsonl", *rows)

    def identity(path: str, **knobs: Any) -> dict[str, str | None]:
        dataset = calibration_dataset(_calib(path, **knobs))
        assert isinstance(dataset, TextSet)
        return own_identity(dataset, ["train"])

    assert identity(path) == identity(moved) == identity(path, label="Mine", category="arithmetic")
    assert identity(path) != identity(path, column="title")
    assert identity(path) != identity(path, held_out=1)
    assert identity(path) != identity(_write(tmp_path / "c.jsonl", *reversed(rows)))
