"""docs/protocols.md says what the code asks."""

import pytest

from dev.protocols import FILE, fill_columns, render
from prune.config.data import DataConfig, DataSource
from prune.data.dataset import Example, QuestionSet
from prune.data.registry import DATASETS
from prune.data.sources.source import open_source


def test_the_file_is_what_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == render(), "run python -m dev.protocols, and read the diff"


def filled(name: str) -> Example:
    dataset = DATASETS[name]
    assert isinstance(dataset, QuestionSet)
    source = open_source(DataConfig(name=DataSource.sample))
    return fill_columns(dataset, source.rows(dataset, dataset.train_split)[0])


@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("boolq", "Passage: {passage}\nQuestion: {question}\nAnswer:"),
        ("svamp", "Question: {Body}. {Question}\nAnswer:"),
        ("winogrande", "Sentence: {sentence}\nOptions:\n1. {option1}\n2. {option2}\nAnswer:"),
        ("wmt14", "English: {translation.en}\nFrench:"),
        ("esnli", "Premise: {premise}\nHypothesis: {hypothesis}\nLabel:"),
    ],
)
def test_columns_stand_where_their_texts_do(name: str, question: str) -> None:
    assert filled(name).question == question


def test_what_is_worked_out_is_not_replaced() -> None:
    assert filled("boolq").answer in ("True", "False")
    assert filled("esnli").answer in ("entailment", "neutral", "contradiction")
    assert filled("gsm8k").target.isdigit()
