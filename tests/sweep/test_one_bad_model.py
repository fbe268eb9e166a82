"""A model that only shows when it is loaded or run that it cannot be used fails its own cells, and no others."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prune.models.files import EMBEDDED_FOLDER
from tests.conftest import Said

LINE = (
    *("model=hf", "model.seq_len=64", "calib.num_samples=2", "calib.seq_len=64", "eval=perplexity", "tracker=none"),
    *("eval.perplexity=[wikitext2]", "eval.num_chunks=1", "eval.seq_len=64"),
)


def not_a_number(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED_FOLDER)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] = torch.nan
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(EMBEDDED_FOLDER).save_pretrained(folder)


def beyond_the_embedding(folder: Path) -> None:
    AutoModelForCausalLM.from_pretrained(EMBEDDED_FOLDER).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED_FOLDER)
    tokenizer.add_tokens([" the"])
    tokenizer.save_pretrained(folder)


def damaged_tokenizer(folder: Path) -> None:
    shutil.copytree(EMBEDDED_FOLDER, folder)
    (folder / "tokenizer.json").write_text('{"version":')


def odd_heads(folder: Path) -> None:
    shutil.copytree(EMBEDDED_FOLDER, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 3}))


def cut_pickle(folder: Path) -> None:
    shutil.copytree(EMBEDDED_FOLDER, folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cut")


OTHERS: dict[Callable[[Path], None], str] = {
    damaged_tokenizer: "the tokenizer could not be loaded",
    odd_heads: "config.json cannot be right: The hidden size (128) is not a multiple of the number of attention heads (3).",
    cut_pickle: "pytorch_model.bin cannot be read as weights",
}
"""What nobody gave: models that show it no sooner, and what is said of each."""


def test_each_of_several_bad_models_is_told_and_the_good_one_runs(say: Callable[..., Said], tmp_path: Path) -> None:
    for make in OTHERS:
        make(tmp_path / make.__name__)
    paths = [*(tmp_path / make.__name__ for make in OTHERS), EMBEDDED_FOLDER]
    said = say("-m", f"model.path={','.join(map(str, paths))}", *LINE, "method=magnitude")
    assert said.code == 1, said
    for make, reason in OTHERS.items():
        assert said.err.count(reason) == 2 and f"{make.__name__}/dense" in said.err, said.err
    results = [json.loads(path.read_text()) for path in (tmp_path / "outputs/cells").glob("*/result.json")]
    assert {result["name"].split("/")[0] for result in results} == {"tiny"} and len(results) == 2


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize(
    ("make", "reason"),
    [(not_a_number, "is not a number"), (beyond_the_embedding, "its embedding of 2048 rows does not have")],
)
def test_the_other_models_run(
    say: Callable[..., Said], tmp_path: Path, make: Callable[[Path], None], reason: str, num_workers: int
) -> None:
    make(tmp_path / "bad")
    said = say("-m", f"model.path={tmp_path / 'bad'},{EMBEDDED_FOLDER}", *LINE, f"launcher.num_workers={num_workers}")
    assert said.code == 1, said
    assert said.err.count(reason) >= 2 and "bad/dense" in said.err and "bad/c4" in said.err
    results = [json.loads(path.read_text()) for path in (tmp_path / "outputs/cells").glob("*/result.json")]
    assert sorted(result["name"].split("/")[0] for result in results) == ["tiny", "tiny"]
    alone = say(f"model.path={tmp_path / 'bad'}", *LINE)
    assert alone.code == 2 and reason in alone.err
