"""Opening a source, and the generated sample seen through it."""

import subprocess
import sys
from pathlib import Path

import pytest

from prune.config.data import DataConfig, DataSource
from prune.data.dataset import AnswerKind, QuestionSet, TextSet
from prune.data.registry import DATASETS
from prune.data.sources.source import Source, examples, open_source, texts
from prune.errors import UserError

SETS = [dataset for dataset in DATASETS.values() if isinstance(dataset, TextSet | QuestionSet)]


@pytest.fixture(scope="module")
def sample() -> Source:
    return open_source(DataConfig(name=DataSource.sample))


def test_names(tmp_path: Path) -> None:
    assert open_source(DataConfig(name=DataSource.sample)).name == "sample"
    assert open_source(DataConfig(name=DataSource.hub)).name == "hub"
    assert open_source(DataConfig(name=DataSource.local, root=str(tmp_path))).name == "local"


@pytest.mark.parametrize("dataset", SETS, ids=lambda dataset: dataset.name)
def test_every_set_has_sample_rows_for_training_and_evaluation(sample: Source, dataset: TextSet | QuestionSet) -> None:
    assert dataset.eval_split is not None
    for split in (dataset.train_split, dataset.eval_split):
        if isinstance(dataset, TextSet):
            documents = texts(sample, dataset, split)
            assert sum(map(len, documents)) > 10_000
            continue
        loaded = list(examples(sample, dataset, split))
        assert len(loaded) >= (500 if split == dataset.train_split else 200)
        assert all(example.rationale is not None for example in loaded) == dataset.has_rationales
        if dataset.answer_kind is AnswerKind.LABEL:
            assert {example.target for example in loaded} == {label for example in loaded for label in example.choices}


def test_unknown_split_of_the_sample(sample: Source) -> None:
    gsm8k = DATASETS["gsm8k"]
    assert isinstance(gsm8k, QuestionSet)
    with pytest.raises(UserError, match="gsm8k has no split 'nowhere'"):
        sample.rows(gsm8k, "nowhere")


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, prune.data.registry; from prune.config.data import DataConfig, DataSource; "
        "from prune.data.sources.source import open_source; "
        "open_source(DataConfig(name=DataSource.hub)); open_source(DataConfig(name=DataSource.local, root='.'));"
        "print([name for name in ('torch', 'datasets', 'huggingface_hub', 'pyarrow', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
