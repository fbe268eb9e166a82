"""Model folders whose files or configuration are wrong in ways of other tools: refused, for the true reason."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from prune.errors import UserError
from prune.models.files import check_model
from prune.models.load import load_model
from tests.models.test_odd_models import check_refused, config, edit_config, edit_weights, save


def wrapped(start: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{start}{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(("start", "wrapper"), [("_orig_mod.", "torch.compile"), ("module.", "DistributedDataParallel")])
def test_names_that_a_wrapper_puts_before_all_tensors(tmp_path: Path, start: str, wrapper: str) -> None:
    edit_weights(save(tmp_path), lambda tensors: wrapped(start, tensors))
    check_refused(tmp_path, rf"begin with {start}, as {wrapper} puts it there .*model\.{start}save_pretrained")


def test_an_adapter_inside_the_model(tmp_path: Path) -> None:
    def adapt(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        name = "model.layers.1.self_attn.q_proj.weight"
        kept = {key: tensor for key, tensor in tensors.items() if key != name}
        inside = name.removesuffix("weight")
        return kept | {f"{inside}base_layer.weight": tensors[name], f"{inside}lora_A.default.weight": torch.zeros(4, 16)}

    edit_weights(save(tmp_path), adapt)
    check_refused(tmp_path, r"holds an adapter that is not merged \(model\.layers\.1\..*merge_and_unload")


def test_weights_in_64_bits_are_whole_ones(tmp_path: Path) -> None:
    edit_weights(save(tmp_path), lambda tensors: {name: tensor.double() for name, tensor in tensors.items()})
    edit_config(tmp_path, dtype="float64")
    assert load_model(config(tmp_path), "cpu").model.dtype == torch.float64


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_act": "nosuch"}, "config.json names 'nosuch', which the installed transformers does not know"),
        ({"rope_parameters": {"rope_type": "nosuch", "rope_theta": 1e4}}, "config.json names 'nosuch'"),
        ({"num_attention_heads": 3}, r"config.json cannot be right: The hidden size \(16\) is not a multiple"),
    ],
)
def test_a_configuration_that_cannot_be(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    edit_config(save(tmp_path), **changes)
    check_model(config(tmp_path))
    with pytest.raises(UserError, match=rf"model odd \(.*{reason}"):
        load_model(config(tmp_path), "cpu")


def test_a_pickled_file_that_is_left_beside_the_weights_is_not_read(tmp_path: Path) -> None:
    (save(tmp_path) / "pytorch_model.bin").write_bytes(b"stale")
    assert load_model(config(tmp_path), "cpu").notes == ()


def test_no_table_of_the_library_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_weights(save(tmp_path), lambda tensors: tensors | {"score.weight": torch.ones(4)})
    shown: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: shown.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    monkeypatch.setattr(logger, "level", logging.WARNING)
    for name, each in logging.root.manager.loggerDict.items():  # Hydra, in an earlier test, disables those that there are
        if name.startswith("transformers") and isinstance(each, logging.Logger):
            monkeypatch.setattr(each, "disabled", False)
            each.manager._clear_cache()
    logger.addHandler(handler)
    try:
        assert load_model(config(tmp_path), "cpu").left_out == {"score.weight"}
        assert shown == []
        AutoModelForCausalLM.from_pretrained(tmp_path)
        assert any("UNEXPECTED" in text for text in shown), "the library has one"
    finally:
        logger.removeHandler(handler)


def test_a_block_that_is_missing_in_the_middle(tmp_path: Path) -> None:
    def drop(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in tensors.items() if "layers.1." not in name}

    edit_weights(save(tmp_path), drop)
    check_refused(tmp_path, r"config\.json says 3 blocks, and the weights have at most 2")
