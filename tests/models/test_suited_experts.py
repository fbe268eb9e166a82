"""Experts that transformers' grouped product cannot take run one after another, with the numbers of a plain loop."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from prune.cell.cell import make_cell
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.config.config import Save
from prune.config.model import DType, ModelConfig
from prune.eval.measure import measure
from prune.eval.subject import Subject
from prune.models.blocks import weights_sha256
from prune.models.experts import is_fused
from prune.models.experts_forward import one_by_one
from prune.models.files import EMBEDDED_FOLDER
from prune.models.load import load_model
from prune.pruning.saved import save_model
from tests.architectures import VOCAB, save_tokenizer, tiny_model
from tests.cell.test_dropped_cells import SMALL, Quiet
from tests.conftest import Compose
from tests.mixtures import SETTINGS, mixture
from tests.mixtures import SMALL as SIZES
from tests.pruning.expert_twins import PlainExperts

TWINS = ("mixtral", "qwen3_moe", "olmoe", "deepseek_v2", "granitemoe", "gpt_oss", "nemotron_h")
WIDTHS = ("intermediate_size", "moe_intermediate_size")
UNSUITED = ((DType.float64, 8), (DType.float32, 6), (DType.float32, 7), (DType.bfloat16, 12), (DType.float16, 9))
"""Type, and number of channels inside an expert."""
ROUNDING = {DType.float64: 1e-12, DType.float32: 1e-5, DType.bfloat16: 5e-2, DType.float16: 5e-3}


def saved(folder: Path, kind: str, width: int, **changes: Any) -> str:
    """The folder of a tiny mixture with experts of this width."""
    widths = {key: width for key in WIDTHS if key in SIZES | SETTINGS[kind]}
    tiny_model(mixture(kind, **widths | changes)).save_pretrained(folder)
    save_tokenizer(folder)
    return str(folder)


def loaded(path: str, dtype: DType) -> PreTrainedModel:
    return load_model(ModelConfig(name="mixture", path=path, dtype=dtype, seq_len=32), "cpu").model


def ways(model: PreTrainedModel) -> set[str]:
    return {module.config._experts_implementation for module in model.modules() if is_fused(module)}


class Loop(PlainExperts):
    """Token by token, and expert by expert of each."""

    def forward(self, hidden_TH: Tensor, index_TK: Tensor, weight_TK: Tensor) -> Tensor:
        total_TH = torch.zeros_like(hidden_TH, dtype=torch.float64)
        for token, (experts, weights) in enumerate(zip(index_TK.tolist(), weight_TK, strict=True)):
            for expert, weight in zip(experts, weights, strict=True):
                own: Any = self.experts[expert]
                total_TH[token] += own["down_proj"](self.inner(own, hidden_TH[token])) * weight
        return total_TH.to(hidden_TH.dtype)


def plain_loop(model: PreTrainedModel, kind: str) -> PreTrainedModel:
    twin = copy.deepcopy(model)
    for path, module in list(twin.named_modules()):
        if is_fused(module):
            parent, _, name = path.rpartition(".")
            setattr(twin.get_submodule(parent), name, Loop(module, kind))
    return twin


def logits(model: PreTrainedModel) -> Tensor:
    tokens_NL = torch.randint(3, VOCAB, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(tokens_NL).logits  # type: ignore[no-any-return]


def assert_alike(found: Tensor, expected: Tensor, dtype: DType) -> None:
    """Up to the rounding of the type, or of the logits, which some models have in float32."""
    rounding = max(ROUNDING[dtype], 1e-4 if found.dtype == torch.float32 else 0)
    torch.testing.assert_close(found, expected, rtol=rounding, atol=rounding)


@pytest.mark.parametrize(("dtype", "width"), UNSUITED)
@pytest.mark.parametrize("kind", TWINS)
def test_the_numbers_are_those_of_a_plain_loop(kind: str, dtype: DType, width: int, tmp_path: Path) -> None:
    model = loaded(saved(tmp_path, kind, width), dtype)
    found, expected = logits(model), logits(plain_loop(model, kind))
    assert_alike(found, expected, dtype)


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_layout_runs(kind: str, tmp_path: Path) -> None:
    path = saved(tmp_path, kind, 6)
    for dtype in (DType.float64, DType.float32, DType.bfloat16):
        model = loaded(path, dtype)
        found = logits(model)
        with one_by_one(model):
            expected = logits(model)
        assert_alike(found, expected, dtype)


@pytest.mark.parametrize("hidden", [20, 36])
def test_an_odd_width_outside_the_experts_counts_too(hidden: int, tmp_path: Path) -> None:
    model = loaded(saved(tmp_path, "mixtral", 8, hidden_size=hidden, num_attention_heads=2), DType.bfloat16)
    assert_alike(logits(model), logits(plain_loop(model, "mixtral")), DType.bfloat16)
    assert ways(model) == {"eager"}


@pytest.mark.parametrize(("dtype", "width"), [(DType.float32, 8), (DType.float32, 12), (DType.bfloat16, 8)])
def test_others_run_as_transformers_does(dtype: DType, width: int, tmp_path: Path) -> None:
    path = saved(tmp_path, "mixtral", width)
    own = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype.value))
    model = loaded(path, dtype)
    assert ways(model) == ways(own) != {"eager"}
    assert torch.equal(logits(model), logits(own))


def test_a_saved_folder_does_not_say_how_experts_run(tmp_path: Path) -> None:
    path = saved(tmp_path / "dense", "qwen3_moe", 6)
    model = load_model(ModelConfig(name="mixture", path=path, seq_len=32), "cpu")
    save_model(tmp_path / "again", model, "")
    again = tmp_path / "again"
    assert "experts_implementation" not in (again / "config.json").read_text()
    assert weights_sha256(AutoModelForCausalLM.from_pretrained(again)) == weights_sha256(model.model)


LINES = (
    ("sparsity=experts", "sparsity.num=1"),
    ("sparsity=experts", "sparsity.num=2", "sparsity.criterion=exact"),
    ("method=wanda", "sparsity=nm", "sparsity.n=1", "sparsity.m=2", f"save={Save.model.value}"),
    ("method=sparsegpt", "reconstruct=block"),
)
SIZED = ((DType.float64, 8), (DType.float32, 6), (DType.bfloat16, 12))
CELLS = [pytest.param(line, *sized, marks=pytest.mark.slow) for line in LINES for sized in SIZED]


@pytest.mark.parametrize(("line", "dtype", "width"), [pytest.param(LINES[0], *SIZED[0]), *CELLS[1:]], ids=str)
def test_cells_are_pruned_and_scored(
    line: tuple[str, ...], dtype: DType, width: int, tmp_path: Path, compose_config: Compose
) -> None:
    path = shutil.copytree(EMBEDDED_FOLDER, tmp_path / "model")
    vocabulary = json.loads((path / "config.json").read_text())["vocab_size"]
    tiny_model(mixture("mixtral", intermediate_size=width, vocab_size=vocabulary)).save_pretrained(path)
    model = ("model=hf", f"model.path={path}", f"model.dtype={dtype.value}", "model.seq_len=48", "model.bos=none")
    words = (*SMALL, *model, f"output_dir={tmp_path}/outputs")
    cell, dense = (make_cell(compose_config(*words, *more)) for more in (line, ("method=dense",)))
    resources = Resources()
    values = [run_cell(each, resources, Quiet())["metrics"]["ppl/c4"]["value"] for each in (dense, cell)]
    assert all(1 < value < 10 * vocabulary for value in values) and values[0] != values[1]
    again = resources.dense_model(dense.config.model, "cpu")
    loop = Subject(plain_loop(again.model, "mixtral"), again.tokenizer, batch_size=8)
    by_loop = measure(dense.scores[0], loop, resources.source(dense.config.data)).metric.value
    assert values[0] == pytest.approx(by_loop, rel=1e-2 if dtype is DType.bfloat16 else 1e-5)
