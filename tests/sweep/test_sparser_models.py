"""A model that is sparser than what is asked is refused before anything is computed, where its files show it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from prune.cell.cell import make_cell
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.config.model import ModelConfig
from prune.errors import UserError
from prune.models.blocks import named_linears, read_weight, write_weight
from prune.models.files import EMBEDDED_FOLDER, model_header, model_linears
from prune.models.zeros import SAMPLE, linear_zeros
from tests.architectures import CONFIGS, VOCAB, tiny_model
from tests.conftest import Compose, Said
from tests.mixtures import mixture

SMALL = ("calib.num_samples=2", "calib.seq_len=48", "model.seq_len=48", "eval=perplexity", "eval.perplexity=[c4]")
SMALL += ("eval.num_chunks=1", "tracker=none", "device=cpu")
REFUSED = r"40\.?\d* % of the weights in the linears to be pruned are 0 already, and only 2\d?\.?\d* % were asked for"
Say = Callable[..., Said]


def zeroed(model: PreTrainedModel, share: float = 0.4) -> PreTrainedModel:
    """Each linear of its blocks with -0 for the smallest of its weights."""
    for linear in named_linears(model).values():
        weight_OI = read_weight(linear).clone(memory_format=torch.contiguous_format)
        smallest = weight_OI.flatten().abs().argsort()[: round(share * weight_OI.numel())]
        weight_OI.view(-1)[smallest] = -0.0
        write_weight(linear, weight_OI)
    return model


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model, 40 % sparse, in bfloat16."""
    folder = tmp_path_factory.mktemp("sparse") / "model"
    shutil.copytree(EMBEDDED_FOLDER, folder)
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED_FOLDER, dtype=torch.bfloat16)
    zeroed(model).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "asked",
    [
        ("method=magnitude", "sparsity.ratio=0.2"),
        ("method=wanda", "sparsity.ratios={*:0.2}"),
        ("method=sparsegpt", "sparsity=nm", "sparsity.n=1", "sparsity.m=4"),
        ("method=magnitude", "sparsity.ratio=0.2", "sparsity.allocation=alphapruning"),
        ("method=wanda", "sparsity.ratio=0.2", "sparsity.preserve_zeros=yes", "method.skip=['0.*']"),
    ],
    ids=" ".join,
)
def test_it_is_refused_before_the_dense_model_is_scored(
    asked: tuple[str, ...], sparse: Path, say: Say, tmp_path: Path
) -> None:
    line = ("model=hf", f"model.path={sparse}", *SMALL, *asked)
    said, planned = say(*line), say(*line, "launcher=plan")
    assert said.code == planned.code == 2
    for err in (said.err, planned.err):
        assert re.search(REFUSED, err), err
    assert not list(tmp_path.rglob("status.json")), "no cell began"


@pytest.mark.parametrize(
    "asked",
    [
        ("sparsity.ratio=0.5",),
        ("sparsity.ratio=0.2", "sparsity.preserve_zeros=no"),
        ("sparsity.ratios={0.*:0.9}", "sparsity.ratio=0.35"),
        ("sparsity=2to4",),
        ("method=dense",),
        ("sparsity=blocks",),
    ],
    ids=" ".join,
)
def test_what_may_be_pruned_is_planned(asked: tuple[str, ...], sparse: Path, say: Say) -> None:
    said = say("model=hf", f"model.path={sparse}", *SMALL, "method=wanda", *asked, "launcher=plan")
    assert said.code == 0, said.err


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", ["llama", "gpt2", "phi3", "opt"])
def test_zeros_are_counted_as_the_loaded_model_has_them(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = zeroed(tiny_model(CONFIGS[kind]()).to(dtype), 0.3)
    model.save_pretrained(tmp_path, max_shard_size="6KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    config = ModelConfig(name="sparse", path=str(tmp_path))
    shapes = model_linears(config)
    assert shapes is not None and model_header(tmp_path)
    expected = {name: int((read_weight(linear) == 0).sum()) for name, linear in named_linears(model).items()}
    assert linear_zeros(config) == expected and expected.keys() == shapes.keys() and min(expected.values()) > 0


def test_only_the_beginnings_of_a_dense_model_are_read(tmp_path: Path) -> None:
    assert linear_zeros(ModelConfig(name="tiny")) is None
    model = tiny_model(LlamaConfig(hidden_size=256, intermediate_size=SAMPLE // 64, num_hidden_layers=1, vocab_size=VOCAB))
    zeroed(model, 0.4).save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    for weight in stored.values():
        weight.view(-1)[:SAMPLE] += 1
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert linear_zeros(ModelConfig(name="sparse", path=str(tmp_path))) is None


def test_files_that_do_not_show_their_linears_are_not_counted(tmp_path: Path) -> None:
    tiny_model(mixture("mixtral")).save_pretrained(tmp_path / "mixture")
    assert linear_zeros(ModelConfig(name="mixture", path=str(tmp_path / "mixture"))) is None
    assert linear_zeros(ModelConfig(name="hub", path="owner/name")) is None


class Stages:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def stage(self, name: str) -> None:
        self.seen.append(name)

    def advance(self, done: int, total: int) -> None:
        assert self.seen[-1] != "prune"


@pytest.mark.parametrize("asked", [("sparsity.ratio=0.2",), ("sparsity=nm", "sparsity.n=1", "sparsity.m=4")], ids=" ".join)
def test_a_mixture_is_refused_once_it_is_loaded(asked: tuple[str, ...], tmp_path: Path, compose_config: Compose) -> None:
    folder = shutil.copytree(EMBEDDED_FOLDER, tmp_path / "model")
    vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
    zeroed(tiny_model(mixture("mixtral", vocab_size=vocabulary))).save_pretrained(folder)
    paths = (f"model.path={folder}", f"output_dir={tmp_path}/outputs")
    watcher = Stages()
    with pytest.raises(UserError, match=REFUSED):
        run_cell(make_cell(compose_config(*SMALL, "model=hf", *paths, "method=wanda", *asked)), Resources(), watcher)
    assert "prune" not in watcher.seen
    assert not list(tmp_path.rglob("*perplexity*")), "nothing was computed on its calibration set"
