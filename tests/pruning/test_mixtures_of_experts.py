"""Every type of mixture: walked, pruned, saved, loaded; and whole lines."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from prune.apply import apply_mask
from prune.cell.resources import DenseCopy
from prune.config.config import Save
from prune.config.model import ModelConfig
from prune.errors import UserError
from prune.models.blocks import count_sparsity, find_blocks, named_linears, weights_sha256
from prune.models.experts import ExpertMatrix
from prune.models.experts_forward import ExpertPass, one_by_one
from prune.models.files import EMBEDDED_FOLDER
from prune.models.load import load_model
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import prune_model
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda
from prune.pruning.saved import MASK_FILE, MODEL_FOLDER, MaskKeeper, restore_pruned, save_mask, save_model
from tests.architectures import calibration, calibration_set, save_tokenizer, tiny_model
from tests.conftest import Compose, Said
from tests.mixtures import NUM_BLOCKS, NUM_EXPERTS, SETTINGS, mixture
from tests.pruning.expert_twins import HALF, Weights, made, pruned

# --- every type ---

HARMLESS = ("router", "gate", "shared_expert_gate", "conv1d", "A_log", "dt_proj")
"""What the names of matrices that stay dense have in them: routers, kernels, states; biases besides."""


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_type_is_walked_pruned_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    model = tiny_model(mixture(kind))
    tokens_NL, real_NL = calibration()
    given = {"input_ids": tokens_NL, "attention_mask": real_NL.long()}
    seen: list[Tensor] = []
    hook = find_blocks(model)[-1].register_forward_hook(
        lambda module, args, output: seen.append(output if isinstance(output, Tensor) else output[0])
    )
    with torch.no_grad():
        expected = model(**given).logits
        with one_by_one(model):
            torch.testing.assert_close(model(**given).logits, expected, rtol=1e-5, atol=1e-5)
        hook.remove()
        walk = Walk(model, calibration_set(), batch_size=len(tokens_NL))
        for index in range(NUM_BLOCKS):
            walk.advance(index)
    torch.testing.assert_close(walk.hidden_NLH, seen[0], rtol=1e-5, atol=1e-5)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    prune_model(model, calibration_set(), Wanda(), HALF, batch_size=2)
    check_zeros(model, before)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert weights_sha256(again) == weights_sha256(model)
    assert count_sparsity(again) == count_sparsity(model)


def check_zeros(model: PreTrainedModel, before: Weights) -> None:
    """Every matrix of the blocks is half zero, or of a harmless kind and as it was."""
    place = next(name for name, module in model.named_modules() if module is find_blocks(model))
    for name, parameter in model.named_parameters():
        parts = name.removeprefix(f"{place}.").split(".")
        is_harmless = any(part in HARMLESS for part in parts) or name.endswith(("_bias", "conv.conv.weight"))
        if is_harmless or parameter.dim() < 2 or not name.startswith(f"{place}."):
            assert torch.equal(parameter, before[name]), name
        else:
            halves = parameter if parameter.dim() == 3 else parameter[None]
            assert all(int((each == 0).sum()) * 2 == each.numel() for each in halves), name


def test_our_function_is_eager_and_leaves_no_trace() -> None:
    for kind in ("mixtral", "gpt_oss"):
        model, tokens_NL = made(kind), calibration()[0]
        seen: list[ExpertPass] = []
        with torch.no_grad():
            model.set_experts_implementation("eager")
            eager = model(tokens_NL).logits
            with one_by_one(model, seen.append), one_by_one(find_blocks(model)[0]):
                torch.testing.assert_close(model(tokens_NL).logits, eager, rtol=1e-12, atol=1e-12)
            assert torch.equal(model(tokens_NL).logits, eager)
        assert len(seen) == NUM_BLOCKS * NUM_EXPERTS
        assert sum(len(each.tokens_P) for each in seen) == NUM_BLOCKS * 2 * tokens_NL.numel()


def test_a_matrix_is_a_view_that_writes_through() -> None:
    for kind in SETTINGS:
        for name, linear in named_linears(made(kind)).items():
            if isinstance(linear, ExpertMatrix):
                before = int((linear.held == 0).sum())
                linear.weight.zero_()
                assert int((linear.held == 0).sum()) - before == linear.weight.numel() > 0, name
    model = made("mixtral")
    for linear in named_linears(model).values():
        linear.weight.detach().zero_()
    total = sum(parameter.numel() for name, parameter in model.named_parameters() if "layers" in name and "norm" not in name)
    routers = sum(parameter.numel() for name, parameter in model.named_parameters() if name.endswith("gate.weight"))
    assert count_sparsity(model) == (total - routers, total - routers)


# --- on disk ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixtral")
    tiny_model(mixture("mixtral")).save_pretrained(path)
    save_tokenizer(path)
    return path


def config_of(folder: Path) -> ModelConfig:
    return ModelConfig(name="mixture", path=str(folder), seq_len=32)


@pytest.mark.parametrize("save", ["mask", "model"])
def test_what_is_saved_comes_back_bit_for_bit(folder: Path, tmp_path: Path, save: str) -> None:
    loaded, masks = load_model(config_of(folder), "cpu"), MaskKeeper()
    pruned(loaded.model, Wanda(), on_mask=masks)
    sha256 = weights_sha256(loaded.model)
    if save == "mask":
        save_mask(tmp_path / MASK_FILE, masks, {"weights_sha256": sha256, "cell": "abc", "name": "a cell"})
        said = apply_mask(tmp_path / MASK_FILE, config_of(folder), tmp_path / MODEL_FOLDER)
        assert "(50%)" in said and "These are the weights of abc (a cell), bit for bit." in said
    else:
        save_model(tmp_path / MODEL_FOLDER, loaded, "card")
    saved, dense = (load_file(each / "model.safetensors") for each in (tmp_path / MODEL_FOLDER, folder))
    assert {name: tensor.shape for name, tensor in saved.items()} == {name: tensor.shape for name, tensor in dense.items()}
    experts = [tensor for name, tensor in saved.items() if ".experts.3." in name]
    assert len(experts) == 3 * NUM_BLOCKS and all(int((each == 0).sum()) * 2 == each.numel() for each in experts)
    again = load_model(config_of(folder), "cpu").model
    assert restore_pruned(tmp_path, again, sha256, Save(save)) and weights_sha256(again) == sha256
    damaged = load_model(config_of(folder), "cpu").model
    assert not restore_pruned(tmp_path, damaged, "0" * 64) and weights_sha256(damaged) != sha256


def test_a_shared_dense_copy_gives_every_cell_the_dense_weights(folder: Path) -> None:
    loaded = load_model(config_of(folder), "cpu")
    copy_of, sha256 = DenseCopy(loaded), weights_sha256(loaded.model)
    pruned(loaded.model, SparseGPT())
    assert weights_sha256(loaded.model) != sha256
    copy_of.restore()
    assert weights_sha256(loaded.model) == sha256


# --- whole lines ---


def test_a_line_prunes_a_mixture_and_says_what_came_to_its_experts(say: Callable[..., Said], tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED_FOLDER, tmp_path / "mixture")
    vocabulary = json.loads((EMBEDDED_FOLDER / "config.json").read_text())["vocab_size"]
    tiny_model(mixture("qwen2_moe", vocab_size=vocabulary)).save_pretrained(tmp_path / "mixture")
    model = ["model=hf", f"model.path={tmp_path}/mixture", "model.seq_len=32", "calib=svamp", "calib.num_samples=2"]
    rest = ["eval.perplexity=[]", "eval.tasks=[]", "tracker=none", "device=cpu"]
    said = say(*model, *rest, "method=sparsegpt", "sparsity=2to4")
    assert said.code == 0, said.err
    (path,) = tmp_path.glob("outputs/cells/*/blocks.jsonl")
    linears = [json.loads(line) for line in path.read_text().splitlines()]
    experts = [each for each in linears if ".experts." in each["name"]]
    assert len(experts) == 3 * NUM_BLOCKS * NUM_EXPERTS
    assert all(each["num_zero"] * 2 == each["num_weights"] for each in linears)
    assert sum(each["tokens"] for each in experts) == 3 * NUM_BLOCKS * 2 * 64
    result = json.loads((path.parent / "result.json").read_text())
    few = {(each["block"], each["name"].rpartition(".")[0]) for each in experts if each["statistic"] == "all"}
    assert any(f"{len(few)} of {NUM_BLOCKS * NUM_EXPERTS} experts" in warning for warning in result["warnings"])
    assert result["sparsity"]["reached"] == 0.5
    (page,) = tmp_path.glob("outputs/sweeps/*/report/index.html")
    assert f'"num_experts":{NUM_EXPERTS},' in page.read_text().replace(": ", ":")


def test_keys_that_do_not_go_together(compose_config: Compose) -> None:
    with pytest.raises(UserError, match=r"method\.min_tokens=0 is not possible: .* at least 1"):
        compose_config("method.min_tokens=0")
    with pytest.raises(UserError, match=r"experts=all and method\.router_weight=gate do not go together.*experts=routed"):
        compose_config("method.experts=all", "method.router_weight=gate")
