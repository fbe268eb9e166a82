"""Local files: what loads, and one clear message for everything that does not."""

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from prune.config.data import DataConfig, DataSource
from prune.data.dataset import QuestionSet, TextSet
from prune.data.registry import DATASETS
from prune.data.sources.source import Source, examples, open_source, texts
from prune.errors import UserError

GSM8K_ROW = {"question": "What is 2+3?", "answer": "It is 5.\n#### 5"}
GSM8K = DATASETS["gsm8k"]
C4 = DATASETS["c4"]
RTE = DATASETS["rte"]
CSQA = DATASETS["commonsense_qa"]
assert isinstance(GSM8K, QuestionSet) and isinstance(RTE, QuestionSet) and isinstance(CSQA, QuestionSet)
assert isinstance(C4, TextSet)


def _open(root: Path) -> Source:
    return open_source(DataConfig(name=DataSource.local, root=str(root)))


def _write(root: Path, name: str, content: str | bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _jsonl(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _told(root: Path, split: str = "train", dataset: TextSet | QuestionSet = GSM8K) -> str:
    with pytest.raises(UserError) as error:
        _open(root).rows(dataset, split)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet"])
def test_the_three_forms_give_the_same_rows(tmp_path: Path, ending: str) -> None:
    rows = [{**GSM8K_ROW, "question": f"What is {i}+1? caf\u00e9 \u2028"} for i in range(50)]
    path = tmp_path / "gsm8k" / f"train{ending}"
    path.parent.mkdir()
    if ending == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=7)
    else:
        content = _jsonl(*rows).encode()
        path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    loaded = _open(tmp_path).rows(GSM8K, "train")
    assert len(loaded) == 50
    assert list(loaded) == rows
    assert loaded[13] == rows[13]
    assert loaded[-1] == rows[-1]
    assert list(loaded[3:5]) == rows[3:5]
    with pytest.raises(IndexError):
        loaded[50]
    questions = examples(_open(tmp_path), GSM8K, "train")
    assert len(questions) == 50
    assert questions[49].question == "Question: What is 49+1? caf\u00e9\nAnswer:"
    assert [example.target for example in questions[:2]] == ["5", "5"]
    with pytest.raises(IndexError):
        questions[50]


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    _write(tmp_path, "gsm8k/train.jsonl", "\ufeff" + _jsonl(GSM8K_ROW) + "\n   \n" + _jsonl(GSM8K_ROW))
    assert list(_open(tmp_path).rows(GSM8K, "train")) == [GSM8K_ROW, GSM8K_ROW]


def test_texts(tmp_path: Path) -> None:
    _write(tmp_path, "c4/validation.jsonl", _jsonl({"text": "one"}, {"text": "two", "url": "u"}))
    documents = texts(_open(tmp_path), C4, "validation")
    assert list(documents) == ["one", "two"]
    assert documents[-2] == "one"


@pytest.mark.parametrize("names", [("sentence1", "sentence2"), ("text1", "text2")])
@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_other_column_names_are_known(tmp_path: Path, names: tuple[str, str], ending: str) -> None:
    rows = [{names[0]: "A.", names[1]: "B.", "label": 0}]
    (tmp_path / "rte").mkdir()
    if ending == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rte/train.parquet")
    else:
        _write(tmp_path, "rte/train.jsonl", _jsonl(*rows))
    source = _open(tmp_path)
    assert source.rows(RTE, "train")[0] == {"sentence1": "A.", "sentence2": "B.", "label": 0}
    assert examples(source, RTE, "train")[0].pair(rationale=False) == "Premise: A.\nHypothesis: B.\nLabel: entailment"


QUESTIONS = [
    {"id": f"q{i}", "question": f"Q{i}?", "choices": {"label": ["A", "B"], "text": ["x", "y"]}, "answerKey": "B"}
    for i in range(3)
]


def test_companion_is_joined_on_its_key(tmp_path: Path) -> None:
    _write(tmp_path, "commonsense_qa/train.jsonl", _jsonl(*QUESTIONS))
    reasons = [{"id": "q2", "abstractive_explanation": "two."}, {"id": "q0", "abstractive_explanation": "zero"}]
    _write(tmp_path, "cos_e/train.jsonl", _jsonl(*reasons))
    loaded = examples(_open(tmp_path), CSQA, "train")
    assert [example.rationale for example in loaded] == ["zero", None, "two"]


def test_rows_that_carry_the_rationale_need_no_companion(tmp_path: Path) -> None:
    rows = [{**row, "abstractive_explanation": "because"} for row in QUESTIONS]
    _write(tmp_path, "commonsense_qa/train.jsonl", _jsonl(*rows))
    assert examples(_open(tmp_path), CSQA, "train")[1].rationale == "because"


def test_missing_companion(tmp_path: Path) -> None:
    _write(tmp_path, "commonsense_qa/train.jsonl", _jsonl(*QUESTIONS))
    message = _told(tmp_path, dataset=CSQA)
    assert "commonsense_qa takes abstractive_explanation from the set cos_e" in message
    assert str(tmp_path / "cos_e") in message


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root=.*nowhere does not exist.*<set>/<split>"):
        _open(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"data\.root=.* is a file"):
        _open(_write(tmp_path, "file", "x"))


def test_missing_set_and_split_list_what_is_there(tmp_path: Path) -> None:
    assert "sets that are there: none" in _told(tmp_path)
    _write(tmp_path, "c4/train.jsonl", _jsonl({"text": "t"}))
    _write(tmp_path, "rte/notes.txt", "x")
    (tmp_path / "boolq").mkdir()
    message = _told(tmp_path)
    assert str(tmp_path / "gsm8k") in message
    assert message.endswith("sets that are there: c4.")
    assert "rte holds no data file; there is: notes.txt." in _told(tmp_path, dataset=RTE)
    message = _told(tmp_path, "validation", C4)
    assert "has no split validation; those that are there: train." in message


def test_two_forms_of_one_split(tmp_path: Path) -> None:
    _write(tmp_path, "gsm8k/train.jsonl", _jsonl(GSM8K_ROW))
    _write(tmp_path, "gsm8k/train.jsonl.gz", gzip.compress(_jsonl(GSM8K_ROW).encode()))
    message = _told(tmp_path)
    assert "train.jsonl and train.jsonl.gz" in message
    assert "Keep one" in message


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (_jsonl(GSM8K_ROW) + '{"question": "Q", "ans', "line 2: this is not valid JSON"),
        (_jsonl(GSM8K_ROW) + "[1, 2]\n", "line 2: this is a JSON list"),
        (_jsonl(GSM8K_ROW) + '"text"\n', "line 2: this is a JSON str"),
        (_jsonl(GSM8K_ROW) + "[" * 100_000, "line 2: this is not valid JSON"),
        (_jsonl(GSM8K_ROW, GSM8K_ROW, {"question": "Q", "solution": "5"}), "line 3: column answer is missing"),
        (_jsonl({}), "found none"),
        ("", "is empty"),
        ("\n \n", "is empty"),
        (_jsonl(GSM8K_ROW).encode() + b'{"question": "\xff\xfe"}\n', "line 2: this is not UTF-8"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_broken_content(tmp_path: Path, content: str | bytes, told: str, compressed: bool) -> None:
    data = content.encode() if isinstance(content, str) else content
    name = "gsm8k/train.jsonl.gz" if compressed else "gsm8k/train.jsonl"
    path = _write(tmp_path, name, gzip.compress(data) if compressed else data)
    message = _told(tmp_path)
    assert str(path) in message
    assert told in message


def test_missing_column_names_expected_and_found(tmp_path: Path) -> None:
    _write(tmp_path, "gsm8k/train.jsonl", _jsonl({"question": "Q", "solution": "5"}))
    assert _told(tmp_path).endswith(
        "line 1: column answer is missing; gsm8k needs question, answer, found question, solution."
    )
    _write(tmp_path, "rte/train.jsonl", _jsonl({"text1": "A", "label": 0}))
    assert "column sentence2 is missing (sentence2 may also be called text2)" in _told(tmp_path, dataset=RTE)


def test_broken_gzip(tmp_path: Path) -> None:
    whole = gzip.compress("".join(_jsonl({**GSM8K_ROW, "question": f"Q{i}"}) for i in range(1000)).encode())
    _write(tmp_path, "gsm8k/train.jsonl.gz", whole[: len(whole) // 2])
    assert "broken or cut gzip file" in _told(tmp_path)
    _write(tmp_path, "gsm8k/train.jsonl.gz", b"not gzip at all")
    assert "broken or cut gzip file" in _told(tmp_path)
    middle = len(whole) // 2
    _write(tmp_path, "gsm8k/train.jsonl.gz", whole[:middle] + bytes(64) + whole[middle + 64 :])
    assert str(tmp_path / "gsm8k/train.jsonl.gz") in _told(tmp_path)


def test_broken_parquet(tmp_path: Path) -> None:
    _write(tmp_path, "gsm8k/train.parquet", b"PAR1 is not enough")
    assert "not a readable parquet file" in _told(tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"question": ["Q"]}), tmp_path / "gsm8k/train.parquet")
    assert "column answer is missing" in _told(tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"question": [], "answer": []}), tmp_path / "gsm8k/train.parquet")
    assert "is empty" in _told(tmp_path)


def test_a_row_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    _write(tmp_path, "gsm8k/train.jsonl", _jsonl(GSM8K_ROW, {"question": "Q", "answer": "5"}))
    loaded = examples(_open(tmp_path), GSM8K, "train")
    assert loaded[0].target == "5"
    with pytest.raises(UserError, match=r"data=local, gsm8k/train, .*train.jsonl, line 2: .*no number after ####"):
        loaded[1]
    _write(
        tmp_path,
        "commonsense_qa/train.jsonl",
        _jsonl({**QUESTIONS[0], "choices": ["x", "y"], "abstractive_explanation": ""}),
    )
    with pytest.raises(UserError, match=r"line 1: .*not have the form of the hub's rows: TypeError"):
        examples(_open(tmp_path), CSQA, "train")[0]


def test_opening_ten_thousand_rows_is_quick(tmp_path: Path) -> None:
    row = {"question": "Q" * 200, "answer": "A" * 300 + "\n#### 5"}
    _write(tmp_path, "gsm8k/train.jsonl", _jsonl(row) * 10_000)
    started = time.process_time()
    assert len(_open(tmp_path).rows(GSM8K, "train")) == 10_000
    assert time.process_time() - started < 1.0
