import os
from pathlib import Path

import pytest
from calib_fakes import MODEL, calib, make_tokenizer, prompt

from prune.calib.recipe import Recipe
from prune.calib.store import load_or_build
from prune.config.data import DataConfig, DataSource
from prune.data.dataset import QuestionSet
from prune.data.registry import find_dataset
from prune.data.sources.source import examples, open_source

SHARED = Path(os.environ.get("PRUNE_SHARED") or Path(__file__).resolve().parents[2].parent / "shared") / "data"
pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"no real rows at {SHARED}; PRUNE_SHARED names their parent folder"
)

TOKENIZER = make_tokenizer(bos=True)


def plain(text: str) -> list[int]:
    ids = TOKENIZER(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [int(token) for token in ids]


@pytest.mark.parametrize(
    ("name", "style"), [("gsm8k", "icl"), ("gsm8k", "cot"), ("svamp", "cot"), ("commonsense_qa", "cot"), ("rte", "icl")]
)
def test_questions(tmp_path: Path, name: str, style: str) -> None:
    data = DataConfig(name=DataSource.local, root=str(SHARED))
    source = open_source(data)
    recipe = Recipe(calib(name, num_samples=16, seq_len=512), prompt(style), data, MODEL)
    made = load_or_build(recipe, source, TOKENIZER, tmp_path)
    dataset = find_dataset(name)
    assert isinstance(dataset, QuestionSet)
    rows = examples(source, dataset, "train")
    assert made.tokens_NL.shape == (16, 512) and made.real_NL.all()
    for tokens_L, sequence in zip(made.tokens_NL.tolist(), made.manifest["sequences"], strict=True):
        text = "\n\n".join(rows[row].pair(rationale=style == "cot") for row in sequence["rows"])
        assert tokens_L == [0, *plain(text)][:512]


@pytest.mark.parametrize("name", ["c4", "redpajama", "wikitext2"])
def test_text(tmp_path: Path, name: str) -> None:
    data = DataConfig(name=DataSource.local, root=str(SHARED))
    recipe = Recipe(calib(name, num_samples=16, seq_len=512), None, data, MODEL)
    made = load_or_build(recipe, open_source(data), TOKENIZER, tmp_path)
    assert made.tokens_NL.shape == (16, 512) and made.real_NL.all()
    assert made.manifest["data"]["research_data"] is True
    rows = [row for sequence in made.manifest["sequences"] for row in sequence["rows"]]
    assert len(rows) == len(set(rows)), "no document and no line is used twice"
