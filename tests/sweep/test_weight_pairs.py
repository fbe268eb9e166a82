"""Token weights that mean nothing on a model are told before anything runs, by its config.json alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from prune.errors import NotApplicableError
from prune.models.attention import hidden_attention
from prune.sweep.grid import GridPoint, check_pairs
from tests.conftest import Compose

SEEN = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "gpt2", "opt", "phi3", "gpt_oss", "olmo2", "fuyu")
HIDDEN = ("mamba", "falcon_mamba", "rwkv", "falcon", "bloom", "mpt", "gptj")


def with_config(folder: Path, **settings: Any) -> str:
    """A folder with nothing but a config.json, as a word of a line."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings))
    return f"model.path={folder}"


@pytest.mark.parametrize("kind", SEEN)
def test_attention_that_goes_through_transformers_registry_can_be_seen(kind: str) -> None:
    assert hidden_attention({"model_type": kind}) is None


@pytest.mark.parametrize("kind", HIDDEN)
def test_models_without_or_with_attention_of_their_own_are_named(kind: str) -> None:
    reason = hidden_attention({"model_type": kind})
    assert reason is not None and kind in reason


def test_a_block_without_softmax_hides_attention_though_others_have_it() -> None:
    kinds = ["linear_attention", "linear_attention", "linear_attention", "full_attention"]
    text = {"model_type": "qwen3_5_text", "layer_types": kinds}
    reason = hidden_attention({"model_type": "qwen3_5", "text_config": text})
    assert reason is not None and "linear_attention" in reason
    assert hidden_attention({"model_type": "gemma3_text", "layer_types": ["sliding_attention", "full_attention"]}) is None


def test_what_is_not_known_is_left_to_the_walk() -> None:
    assert hidden_attention({}) is None
    assert hidden_attention({"model_type": "of_another_package"}) is None
    assert hidden_attention({"model_type": "../llama"}) is None


def test_a_point_is_not_applicable_with_the_reason(compose_config: Compose, tmp_path: Path) -> None:
    place = with_config(tmp_path / "m", model_type="falcon", num_hidden_layers=2)
    config = compose_config(place, "model.seq_len=64", "calib=c4", "weight=attention")
    with pytest.raises(NotApplicableError) as told:
        check_pairs(config)
    for word in ("weight=attention", "falcon", "ALL_ATTENTION_FUNCTIONS", "weight=activation_norm"):
        assert word in str(told.value)
    assert str(told.value) == GridPoint.of_config(config, ("weight=attention",)).reason


@pytest.mark.parametrize("change", ["weight=activation_norm", "weight=none", "method=magnitude", "method=dense"])
def test_weights_that_need_no_attention_or_do_not_matter_apply(compose_config: Compose, tmp_path: Path, change: str) -> None:
    place = with_config(tmp_path / "m", model_type="falcon", num_hidden_layers=2)
    check_pairs(compose_config(place, "model.seq_len=64", "calib=c4", "weight=attention", change))
    check_pairs(compose_config("calib=c4", "weight=attention"))
