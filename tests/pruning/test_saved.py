"""A pruned model comes back from disk bit for bit, or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.quantizers.quantizer_gguf import GgufHfQuantizer
from transformers.utils.quantization_config import GgufConfig

from bench.offload import LiveBytes
from prune.config.model import ModelConfig
from prune.errors import UserError
from prune.models.blocks import named_linears, read_weight, weights_sha256, write_weight
from prune.models.load import LoadedModel, load_model
from prune.pruning.layerwise import prune_model
from prune.pruning.methods.random import Random
from prune.pruning.saved import MASK_FILE, MODEL_FOLDER, MaskKeeper, load_mask, restore_pruned, save_mask, save_model
from prune.pruning.sparsity import Unstructured
from tests.architectures import CONFIGS, tiny_model
from tests.conftest import Said

TINY = ModelConfig(name="tiny", seq_len=256)
Say = Callable[..., Said]
LINE = ["calib=c4", "calib.num_samples=4", "eval.perplexity=[wikitext2]", "eval.num_chunks=1", "tracker=none"]


def dense() -> LoadedModel:
    return load_model(TINY, "cpu")


def prune_half(model: Any, masks: MaskKeeper, *, update: bool = False, only: str = "") -> None:
    """Remove a random half of every matrix with `only` in its name; with `update` the other weights change too."""
    generator = torch.Generator().manual_seed(0)
    for name, linear in named_linears(model).items():
        if only not in name:
            continue
        weight_OI = read_weight(linear)
        mask_OI = torch.rand(weight_OI.shape, generator=generator) < 0.5
        block, _, inner = name.partition(".")
        masks(int(block), inner, mask_OI)
        write_weight(linear, (weight_OI * (1.25 if update else 1)).masked_fill(mask_OI, 0))


@pytest.mark.parametrize("only", ["", "mlp"], ids=["all", "some linears"])
@pytest.mark.parametrize(("save", "update"), [("mask", False), ("model", False), ("model", True)])
def test_the_same_bits_come_back(tmp_path: Path, save: str, update: bool, only: str) -> None:
    loaded, masks = dense(), MaskKeeper()
    prune_half(loaded.model, masks, update=update, only=only)
    sha256 = weights_sha256(loaded.model)
    if save == "mask":
        save_mask(tmp_path / MASK_FILE, masks, {})
    else:
        save_model(tmp_path / MODEL_FOLDER, loaded, "card")
    again = dense().model
    assert restore_pruned(tmp_path, again, sha256) and weights_sha256(again) == sha256


@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_folder_loads_and_is_restored_whatever_the_architecture(tmp_path: Path, architecture: str) -> None:
    model, masks = tiny_model(CONFIGS[architecture]()), MaskKeeper()
    prune_half(model, masks, update=True)
    sha256 = weights_sha256(model)
    save_model(tmp_path / MODEL_FOLDER, LoadedModel(architecture, model, dense().tokenizer), "card")
    assert weights_sha256(AutoModelForCausalLM.from_pretrained(tmp_path / MODEL_FOLDER)) == sha256
    again = tiny_model(CONFIGS[architecture]())
    assert restore_pruned(tmp_path, again, sha256) and weights_sha256(again) == sha256


def test_a_folder_holds_model_tokenizer_and_card(tmp_path: Path) -> None:
    loaded = dense()
    save_model(tmp_path / MODEL_FOLDER, loaded, "# card")
    folder = tmp_path / MODEL_FOLDER
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {path.name for path in folder.iterdir()}
    assert (folder / "README.md").read_text() == "# card"
    text = "One apple and two pears."
    assert AutoTokenizer.from_pretrained(folder)(text)["input_ids"] == loaded.tokenizer(text)["input_ids"]
    assert [path.name for path in tmp_path.iterdir()] == [MODEL_FOLDER]
    assert {path.stat().st_mode & 0o444 for path in folder.iterdir()} == {0o444}
    save_model(folder, loaded, "# another")
    assert (folder / "README.md").read_text() == "# another"


def test_a_model_that_was_de_quantised_is_saved_as_a_plain_one(tmp_path: Path) -> None:
    loaded = dense()
    loaded.model.hf_quantizer = GgufHfQuantizer(GgufConfig())
    loaded.model.config.quantization_config = GgufConfig()
    with pytest.raises(ValueError, match="not serializable"):
        loaded.model.save_pretrained(tmp_path / "refused")
    save_model(tmp_path / MODEL_FOLDER, loaded, "card")
    assert "quantization_config" not in json.loads((tmp_path / MODEL_FOLDER / "config.json").read_text())
    again = AutoModelForCausalLM.from_pretrained(tmp_path / MODEL_FOLDER)
    assert weights_sha256(again) == weights_sha256(loaded.model)


def test_a_folder_that_cannot_be_written_is_a_message_and_leaves_nothing(tmp_path: Path, small_disk: Path) -> None:
    loaded = dense()
    with pytest.raises(UserError, match=r"model could not be written: .*(full|space)"):
        save_model(small_disk / MODEL_FOLDER, loaded, "card")
    assert list(small_disk.iterdir()) == []
    loaded.model.save_pretrained = refuse  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"model could not be written: no such layer\. save=mask takes less space"):
        save_model(tmp_path / MODEL_FOLDER, loaded, "card")
    assert not (tmp_path / MODEL_FOLDER).exists()


def refuse(*args: Any, **kwargs: Any) -> None:
    raise ValueError("no such layer")


def test_a_mask_gives_the_bits_that_a_method_leaves_also_where_zeros_have_a_sign(tmp_path: Path) -> None:
    model, again, masks = dense().model, dense().model, MaskKeeper()
    for zeros in (model, again):
        for linear in named_linears(zeros).values():
            linear.weight.data[:4] = -0.0
    prune_model(model, None, Random(), Unstructured(0.5), batch_size=1, seed=0, on_mask=masks)
    save_mask(tmp_path / MASK_FILE, masks, {})
    assert restore_pruned(tmp_path, again, weights_sha256(model))


def test_one_linear_at_a_time_is_held_beside_the_model(tmp_path: Path) -> None:
    model, again, masks = dense().model, dense().model, MaskKeeper()
    prune_half(model, masks)
    save_mask(tmp_path / MASK_FILE, masks, {})
    sizes = [linear.weight.nbytes for linear in named_linears(model).values()]
    with LiveBytes() as live:
        assert restore_pruned(tmp_path, again, weights_sha256(model))
    assert live.peak < sum(bits.nbytes for bits in masks.packed.values()) + 4 * max(sizes) < sum(sizes) / 2


def test_a_mask_takes_a_bit_a_weight_and_is_read_back(tmp_path: Path) -> None:
    model, masks = dense().model, MaskKeeper()
    prune_half(model, masks)
    save_mask(tmp_path / MASK_FILE, masks, {"cell": "abc", "method": "wanda"})
    linears = named_linears(model)
    num_weights = sum(linear.weight.numel() for linear in linears.values())
    assert (tmp_path / MASK_FILE).stat().st_size < num_weights / 8 * 1.1
    saved = load_mask(tmp_path / MASK_FILE)
    assert saved is not None and saved.about == {"cell": "abc", "method": "wanda"} and saved.shapes is not None
    assert saved.packed.keys() == saved.shapes.keys() == linears.keys()
    num_removed = 0
    for name, linear in linears.items():
        assert saved.shapes[name] == tuple(linear.weight.shape)
        mask_OI = saved.mask(name, saved.shapes[name])
        assert not read_weight(linear)[mask_OI].any()
        num_removed += int(mask_OI.sum())
    assert num_removed == pytest.approx(num_weights / 2, rel=0.01)
    assert load_mask(tmp_path / "absent") is None


def test_weights_that_are_not_the_ones_asked_for_are_not_used(tmp_path: Path) -> None:
    loaded, masks = dense(), MaskKeeper()
    prune_half(loaded.model, masks, update=True)  # a mask alone cannot bring these weights back
    sha256 = weights_sha256(loaded.model)
    save_mask(tmp_path / MASK_FILE, masks, {})
    again = dense().model
    before = weights_sha256(again)
    assert not restore_pruned(tmp_path, again, sha256)
    assert weights_sha256(again) == before
    save_model(tmp_path / MODEL_FOLDER, loaded, "card")
    assert not restore_pruned(tmp_path, again, "another hash")
    assert weights_sha256(again) == before
    for path in (tmp_path / MASK_FILE, tmp_path / MODEL_FOLDER / "model.safetensors"):
        path.write_bytes(b"damaged")
    assert not restore_pruned(tmp_path, again, sha256)
    assert not restore_pruned(tmp_path / "absent", again, sha256)


def test_masks_of_another_model_are_not_used(tmp_path: Path) -> None:
    masks = MaskKeeper()
    prune_half(dense().model, masks)
    save_mask(tmp_path / MASK_FILE, masks, {})
    assert not restore_pruned(tmp_path, tiny_model(CONFIGS["llama"]()), "a hash")
    assert not restore_pruned(tmp_path, tiny_model(CONFIGS["gpt2"]()), "a hash")


def result(folder: Path) -> dict[str, Any]:
    (path,) = [path for path in folder.glob("outputs/cells/*/result.json") if (path.parent / "blocks.jsonl").exists()]
    read = json.loads(path.read_text())
    assert isinstance(read, dict)
    return read | {"log": (path.parent / "run.log").read_text(), "files": {file.name for file in path.parent.iterdir()}}


@pytest.mark.parametrize(
    ("method", "save", "file"),
    [
        ("wanda", "mask", MASK_FILE),
        ("sparsegpt", "model", MODEL_FOLDER),
        ("wanda", "none", None),
        ("sparsegpt", "mask", MASK_FILE),
    ],
)
def test_a_score_that_is_added_later_is_of_the_same_weights(
    say: Say, tmp_path: Path, method: str, save: str, file: str | None
) -> None:
    first = say(*LINE, f"method={method}", f"save={save}", "eval.tasks=[]")
    assert first.code == 0, first.err
    before = result(tmp_path)
    assert file is None or file in before["files"]
    added = say(*LINE, f"method={method}", f"save={save}", "eval.tasks=[rte]", "eval.limit=2")
    assert added.code == 0, added.err
    after = result(tmp_path)
    assert set(after["metrics"]) == {"ppl/wikitext2", "acc/rte"}
    assert after["weights_sha256"] == before["weights_sha256"] and after["sparsity"] == before["sparsity"]
    assert after["log"].count("ppl/wikitext2 = ") == 1
    from_disk = (method == "wanda" and save == "mask") or save == "model"
    assert ("they are used again" in after["log"]) == from_disk
    assert not any("not bit for bit" in warning for warning in after["warnings"])
