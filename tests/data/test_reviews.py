"""Reviews: their form, and rows that lie sorted by label are read from both halves in turn."""

import json
from pathlib import Path

import pytest

from prune.calib.manifest import describe_source
from prune.config.data import DataConfig, DataSource
from prune.data.dataset import QuestionSet
from prune.data.registry import find_dataset
from prune.data.sources.rows import InTurn
from prune.data.sources.source import Source, examples, open_source
from prune.errors import UserError


def question_set(name: str) -> QuestionSet:
    dataset = find_dataset(name)
    assert isinstance(dataset, QuestionSet)
    return dataset


def write(root: Path, name: str, labels: list[object], column: str = "text") -> Source:
    (root / name).mkdir()
    rows = [{column: f"Review {number}.", "label": label} for number, label in enumerate(labels)]
    (root / name / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_source(DataConfig(name=DataSource.local, root=str(root)))


@pytest.mark.parametrize("num_rows", [0, 1, 2, 5, 6])
def test_in_turn_gives_each_row_once(num_rows: int) -> None:
    rows = [{"row": number} for number in range(num_rows)]
    turned = InTurn(rows)
    half = (num_rows + 1) // 2
    expected = [row for pair in zip(rows[:half], [*rows[half:], None], strict=False) for row in pair if row is not None]
    assert list(turned) == expected == turned[:] and len(turned) == num_rows
    assert sorted(row["row"] for row in turned) == list(range(num_rows))
    assert turned[1:4:2] == expected[1:4:2] and turned[-2:] == expected[-2:]
    with pytest.raises(IndexError):
        turned[num_rows]
    assert not num_rows or turned[-1] == expected[-1]


@pytest.mark.parametrize("name", ["imdb", "rotten_tomatoes"])
def test_the_first_rows_of_a_sorted_set_are_not_all_alike(tmp_path: Path, name: str) -> None:
    source, dataset = write(tmp_path, name, [0] * 4 + [1] * 4), question_set(name)
    assert [example.target for example in examples(source, dataset, "train")[:4]] == ["negative", "positive"] * 2
    assert examples(source, dataset, "train")[3].question == "Review: Review 5.\nSentiment:"


def test_the_manifest_says_what_the_number_of_a_row_means() -> None:
    told = describe_source([(question_set("imdb"), "train")], DataConfig(name=DataSource.sample))
    assert told["row_order"] == "from both halves of the split in turn"
    assert "row_order" not in describe_source([(question_set("sst2"), "train")], DataConfig(name=DataSource.sample))


def test_a_bad_row_of_a_sorted_set_is_told_by_its_line(tmp_path: Path) -> None:
    source = write(tmp_path, "imdb", [0, 0, 1, 7])
    with pytest.raises(UserError, match=r"train.jsonl, line 4: label 7 is unknown; it must be one of negative, positive"):
        list(examples(source, question_set("imdb"), "train"))


@pytest.mark.parametrize(("name", "column"), [("sst2", "sentence"), ("yelp_polarity", "text")])
def test_the_other_sets_keep_their_order(tmp_path: Path, name: str, column: str) -> None:
    source = write(tmp_path, name, [0, 0, 1, 1], column)
    targets = [example.target for example in examples(source, question_set(name), "train")]
    assert targets == ["negative", "negative", "positive", "positive"]


def test_a_row_without_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no label"):
        list(examples(write(tmp_path, "sst2", [-1], "sentence"), question_set("sst2"), "train"))
