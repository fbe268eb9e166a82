"""A model that accelerate has spread over devices: each block replayed alone, with the hooks that move its inputs."""

from dataclasses import replace
from typing import Any

import accelerate
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from prune.calib.calibration_set import CalibrationSet
from prune.config.model import ModelConfig
from prune.errors import UserError
from prune.models.blocks import find_blocks, weights_sha256
from prune.models.load import load_model
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import prune_model
from prune.pruning.method import Method
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda
from prune.pruning.sparsity import Unstructured
from tests.architectures import CONFIGS, calibration, calibration_set, tiny_model

HALF = Unstructured(0.5)


def dispatched(architecture: str) -> PreTrainedModel:
    """With a hook on every module, as on several GPUs; all of them send to the CPU."""
    model = tiny_model(CONFIGS[architecture]())
    blocks = {id(block) for block in find_blocks(model)}
    places = {name: "cpu" for name, module in model.named_modules() if id(module) in blocks}
    inside = tuple(f"{name}." for name in places)
    own = {name.rpartition(".")[0] for name in model.state_dict() if not name.startswith(inside)}
    hooked: PreTrainedModel = accelerate.dispatch_model(model, places | dict.fromkeys(own, "cpu"), force_hooks=True)
    return hooked


@pytest.mark.parametrize("method", [Wanda(), SparseGPT()], ids=lambda method: method.name)
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2", "opt", "falcon_rw"])
def test_the_same_weights_come_out_with_hooks_on_every_module(architecture: str, method: Method) -> None:
    plain, model = tiny_model(CONFIGS[architecture]()), dispatched(architecture)
    assert all(hasattr(block, "_hf_hook") for block in find_blocks(model))
    tokens_NL, mask_NL = calibration(8, 16, padded=False)
    for one in (plain, model):
        prune_model(one, CalibrationSet.of_tokens(tokens_NL, mask_NL), method, HALF, batch_size=3, seed=0)
    assert weights_sha256(model) == weights_sha256(plain)
    with torch.no_grad():
        assert torch.equal(model(input_ids=tokens_NL).logits, plain(input_ids=tokens_NL).logits)


def test_without_gpus_it_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.device_map=auto spreads a model over GPUs.*runs on cpu"):
        load_model(ModelConfig(name="tiny", seq_len=256, device_map="auto"), "cpu")


def test_a_model_that_does_not_fit_the_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What transformers is asked for, and what it does with a model that is too large."""
    config, asked = ModelConfig(name="tiny", seq_len=256), {}
    loaded: Any = load_model(config, "cpu").model
    loaded.hf_device_map = {"model.embed_tokens": 0, "model.layers.0": 1, "model.layers.1": "cpu"}

    def from_pretrained(path: str, **settings: Any) -> tuple[PreTrainedModel, dict[str, list[str]]]:
        asked.update(settings)
        return loaded, {"missing_keys": [], "unexpected_keys": []}

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", from_pretrained)
    spread = replace(config, device_map="balanced")
    with pytest.raises(UserError, match=r"device_map=balanced parts of it would be on cpu.*model\.offload=true"):
        load_model(spread, "cuda")
    assert asked["device_map"] == "balanced"
    loaded.hf_device_map = {"model.embed_tokens": 0, "model.layers.0": 1}
    assert load_model(spread, "cuda").model is loaded


def test_statistics_and_hidden_states_follow_a_block() -> None:
    """To a device that computes nothing."""
    model = tiny_model(CONFIGS["llama"]())
    seen: list[tuple[str, str]] = []

    class Placed(Wanda):
        def start_statistic(self, num_inputs: int, device: torch.device) -> Any:
            seen.append(("statistic", device.type))
            return super().start_statistic(num_inputs, device)

    def forward(hidden_BLH: Tensor, **kwargs: Any) -> Tensor:
        seen.append(("hidden states", hidden_BLH.device.type))
        return torch.zeros(hidden_BLH.shape)

    walk = Walk(model, calibration_set(), batch_size=5)
    block = find_blocks(model)[1]
    block.to("meta")
    vars(block)["forward"] = forward
    walk.advance(1)
    walk.collect(1, Placed())
    assert seen == [("hidden states", "meta"), *[("statistic", "meta")] * 4, ("hidden states", "meta")]
