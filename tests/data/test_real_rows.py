"""All real rows that are at hand: every split loads with its number of rows, and every row becomes a valid example."""

from pathlib import Path

import pytest

from prune.config.data import DataConfig, DataSource
from prune.data.dataset import AnswerKind, QuestionSet, TextSet
from prune.data.formatting.arithmetic import evaluate
from prune.data.registry import DATASETS
from prune.data.sources.source import Source, examples, open_source, texts
from prune.errors import UserError

NUM_ROWS = {
    ("gsm8k", "train"): 7_473,
    ("gsm8k", "test"): 1_319,
    ("svamp", "train"): 700,
    ("svamp", "test"): 300,
    ("mawps", "train"): 1_493,
    ("mawps", "validation"): 192,
    ("mawps", "test"): 194,
    ("esnli", "train"): 988,
    ("esnli", "validation"): 9_842,
    ("esnli", "test"): 9_824,
    ("commonsense_qa", "train"): 9_741,
    ("commonsense_qa", "validation"): 1_221,
    ("winogrande", "train"): 2_558,
    ("winogrande", "validation"): 1_267,
    ("boolq", "train"): 1_491,
    ("boolq", "validation"): 2_817,
    ("rte", "train"): 2_490,
    ("rte", "validation"): 277,
    ("wikitext2", "train"): 3_301,
    ("wikitext2", "validation"): 3_743,
    ("wikitext2", "test"): 4_358,
    ("c4", "train"): 1_000,
    ("c4", "validation"): 1_000,
    ("redpajama", "train"): 2_262,
}
"""(set, split) -> rows, as the folder's own description counts them."""

NUM_WITHOUT_RATIONALE = {("svamp", "train"): 1}
"""One equation is a lone number."""

NUM_GOLD_UNLIKE_EXPRESSION = {("svamp", "train"): 1, ("mawps", "train"): 5}
"""Rows whose own gold number is not the value of their own expression to 0.001: faults of the sets, kept as they are."""


@pytest.fixture(scope="module")
def source(real_data: Path) -> Source:
    """The real rows as a local source."""
    return open_source(DataConfig(name=DataSource.local, root=str(real_data)))


@pytest.mark.parametrize(("name", "split"), NUM_ROWS, ids=lambda value: value)
def test_split(source: Source, name: str, split: str) -> None:
    dataset = DATASETS[name]
    num_rows = NUM_ROWS[name, split]
    if isinstance(dataset, TextSet):
        documents = list(texts(source, dataset, split))
        assert len(documents) == num_rows
        assert all(isinstance(text, str) for text in documents)
        return
    assert isinstance(dataset, QuestionSet)
    loaded = list(examples(source, dataset, split))
    assert len(loaded) == num_rows
    for example in loaded:
        assert example.question == example.question.rstrip()
        assert example.answer == example.answer.strip() != ""
        assert not example.choices or (example.target in example.choices and example.answer == example.target)
        assert example.rationale is None or example.rationale[-1] not in ".,;:!? \n"
    num_without = sum(example.rationale is None for example in loaded)
    assert num_without == (NUM_WITHOUT_RATIONALE.get((name, split), 0) if dataset.has_rationales else num_rows)
    if dataset.answer_kind is AnswerKind.NUMBER:
        pairs = [(evaluate(example.answer), evaluate(example.target)) for example in loaded]
        assert all(value is not None and gold is not None for value, gold in pairs)
        unlike = sum(abs(value - gold) > 0.001 for value, gold in pairs if value is not None and gold is not None)
        assert unlike == NUM_GOLD_UNLIKE_EXPRESSION.get((name, split), 0)


def test_splits_without_answers_are_told(source: Source) -> None:
    winogrande, csqa = DATASETS["winogrande"], DATASETS["commonsense_qa"]
    assert isinstance(winogrande, QuestionSet) and isinstance(csqa, QuestionSet)
    with pytest.raises(UserError, match=r"winogrande/test, .*line 1: .*answers are not published"):
        examples(source, winogrande, "test")[0]
    with pytest.raises(UserError, match="cos_e has no split test"):
        examples(source, csqa, "test")


def test_a_set_without_held_out_rows_lists_its_splits(source: Source) -> None:
    redpajama = DATASETS["redpajama"]
    assert isinstance(redpajama, TextSet) and redpajama.eval_split is not None
    with pytest.raises(UserError, match=r"redpajama has no split validation; those that are there: train"):
        texts(source, redpajama, redpajama.eval_split)
