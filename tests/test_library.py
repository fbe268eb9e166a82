"""prune in a notebook, and the engine without Hydra, as docs/library.md shows them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import prune
from prune import Model
from prune.errors import NotApplicableError, UserError
from prune.eval.metric import Metric
from prune.models.blocks import weights_sha256
from tests.conftest import RunLine

SHOWN = re.findall(
    r"```python\n(.*?)```", (Path(__file__).resolve().parents[1] / "docs" / "library.md").read_text(), flags=re.DOTALL
)

PROGRAM = """
import sys
import torch
from transformers import AutoModelForCausalLM

from prune.tiny import FOLDER

model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
tokens_NL = torch.randint(0, 1000, (4, 32), generator=torch.Generator().manual_seed(0))

from prune.calib.calibration_set import CalibrationSet
from prune.pruning.layerwise import prune_model
from prune.pruning.methods.wanda import Wanda
from prune.pruning.sparsity import Unstructured

reports = prune_model(model, CalibrationSet.of_tokens(tokens_NL), Wanda(), Unstructured(0.5))
assert all(report.num_removed * 2 == report.num_weights for report in reports)
weight_OI = model.model.layers[0].self_attn.q_proj.weight
assert (weight_OI == 0).sum(dim=1).eq(weight_OI.shape[1] // 2).all()
print(len(reports), [name for name in ("hydra", "omegaconf", "wandb", "lm_eval", "submitit") if name in sys.modules])
"""


def test_the_page_shows_what_is_run() -> None:
    assert len(SHOWN) == 2 and SHOWN[1] in PROGRAM


def test_a_loaded_model_is_pruned_without_hydra() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "28" and done.stdout.strip().endswith("[]"), done.stdout


@pytest.fixture(scope="module")
def model() -> Model:
    """The embedded model; a test leaves it dense."""
    return Model()


SETS = ("calib.num_samples=16", "calib.seq_len=64")
SCORES = ("eval.perplexity=[wikitext2]", "eval.tasks=[]", "eval.num_chunks=4")


def test_a_notebook_gets_the_numbers_of_cells(run_line: RunLine, tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(SHOWN[0], names)
    done = run_line("-m", "calib=c4,gsm8k", "method=wanda", "sparsity=2to4", *SETS, *SCORES)
    assert done.returncode == 0, done.stderr
    results = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/cells/*/result.json")]
    in_cells = {each["axes"]["calib"]: each["metrics"]["ppl/wikitext2"]["value"] for each in results if each["calib"]}
    scores: dict[str, dict[str, Metric]] = names["scores"]
    assert {calib: of["ppl/wikitext2"].value for calib, of in scores.items()} == in_cells
    assert in_cells["c4"] != in_cells["gsm8k"]
    sets = {each["axes"]["calib"]: each["calib"]["id"] for each in results if each["calib"]}
    assert names["calibration"].id == sets["gsm8k"]


def test_restore_gives_the_dense_weights_back(model: Model) -> None:
    dense = weights_sha256(model.model)
    model.prune(None, "method=magnitude", "sparsity.ratio=0.3")
    assert weights_sha256(model.model) != dense
    with pytest.raises(UserError, match=r"pruned already. Call restore\(\)"):
        model.prune(None, "method=magnitude")
    model.restore()
    assert weights_sha256(model.model) == dense


@pytest.mark.parametrize("words", [("method.propagation=dense",), ("weight=attention",), ("reconstruct=block",)])
def test_what_a_line_says_a_notebook_can_say(model: Model, words: tuple[str, ...]) -> None:
    calibration = model.calibration_set("calib=c4", "calib.num_samples=4", "calib.seq_len=32")
    hashes = []
    for said in ((), words):
        reports = model.prune(calibration, "method=wanda", *said)
        assert all(report.num_removed * 2 == report.num_weights for report in reports)
        hashes.append(weights_sha256(model.model))
        model.restore()
    assert hashes[0] != hashes[1]


def test_blocks_are_dropped_from_a_smaller_model_and_come_back(model: Model) -> None:
    calibration = model.calibration_set("calib=c4", "calib.num_samples=4", "calib.seq_len=32")
    blocks = model.model.config.num_hidden_layers
    model.prune(calibration, "sparsity=blocks", "sparsity.num=1")
    assert model.model.config.num_hidden_layers == blocks - 1
    assert model.score(*SCORES)["ppl/wikitext2"].value > 0
    model.restore()
    assert model.model.config.num_hidden_layers == blocks


def test_a_set_is_kept_where_cells_find_it_only_when_asked(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = model.calibration_set("calib=c4", *SETS)
    assert not list(tmp_path.iterdir())
    kept = model.calibration_set("calib=c4", *SETS, "output_dir=mine")
    assert (tmp_path / "mine" / "calib" / made.id / "manifest.json").is_file()
    assert kept.manifest == made.manifest


@pytest.mark.slow
def test_the_dense_model_writes_its_set(model: Model) -> None:
    words = ("calib=generated", "calib.num_samples=2", "calib.seq_len=16")
    made = model.calibration_set(*words)
    assert made.tokens_NL.shape == (2, 16)
    model.prune(None, "method=magnitude")
    with pytest.raises(UserError, match="The dense model makes this calibration set"):
        model.calibration_set(*words)
    model.restore()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("calib=c5",), "c4"),
        (("calib=c4,gsm8k",), "calib"),
        (("calib.num_sample=4",), "num_samples"),
        (("model=tiny",), "when the model is opened"),
        (("device=cpu",), "when the model is opened"),
    ],
)
def test_wrong_words_are_told_as_on_the_command_line(model: Model, words: tuple[str, ...], told: str) -> None:
    with pytest.raises(UserError, match=told):
        model.calibration_set(*words)


def test_what_means_nothing_is_told(model: Model) -> None:
    with pytest.raises(NotApplicableError):
        model.calibration_set("calib=c4", "prompt=cot", "method=wanda", "calib=hellaswag")
    with pytest.raises(UserError, match="none was given"):
        model.prune(None, "method=wanda")
    with pytest.raises(UserError, match="method=dense prunes nothing"):
        model.prune(None, "method=dense")


def test_the_package_offers_one_name() -> None:
    assert prune.__all__ == ["Model"]
    with pytest.raises(AttributeError, match="it offers Model"):
        prune.Modell  # noqa: B018
