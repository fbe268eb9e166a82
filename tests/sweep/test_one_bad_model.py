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


def too_large(folder: Path) -> None:
    """A model whose activations in block 1 are numbers in float32 and none in float16."""
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED_FOLDER)
    with torch.no_grad():
        for linear in (model.model.layers[1].mlp.up_proj, model.model.layers[1].mlp.gate_proj):
            linear.weight.mul_(1000)
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


TOO_LARGE = ("-m", "model.dtype=float16", "method=magnitude,wanda", *LINE, "eval.perplexity=[]")
"""A grid of three cells of `too_large`, of which one fails."""
OVERFLOWS = (
    "block 1, mlp.down_proj (float16): the calibration inputs of this linear are infinite or not a number: activations "
    "overflowed; load the model in a wider type (model.dtype=bfloat16 or float32)."
)


def test_an_overflow_names_the_type_and_only_its_cell_fails(say: Callable[..., Said], tmp_path: Path) -> None:
    too_large(tmp_path / "large")
    said = say(*TOO_LARGE, f"model.path={tmp_path / 'large'}")
    assert said.code == 1 and said.err.count(OVERFLOWS) == 1 and "Traceback" not in said.err, said
    results = [json.loads(path.read_text()) for path in (tmp_path / "outputs/cells").glob("*/result.json")]
    assert {result["name"] for result in results} == {"large/dense", "large/magnitude/50%"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "reason", "num_workers"),
    [
        (not_a_number, "is not a number", 1),
        (not_a_number, "is not a number", 2),
        (beyond_the_embedding, "its embedding of 2048 rows does not have", 1),
    ],
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
