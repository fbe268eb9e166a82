"""Loading of tiny models saved into a folder, and one clear message for each way in which a folder can be wrong."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import LlamaConfig, T5Config, T5ForConditionalGeneration

import prune.models.files
from prune.config.model import DType, ModelConfig
from prune.errors import UserError
from prune.models import blocks
from prune.models.blocks import count_sparsity, find_blocks, find_linears, read_weight, weights_sha256, write_weight
from prune.models.chat import has_chat_template
from prune.models.files import check_model, check_seq_len, model_window
from prune.models.gguf import read_gguf_header
from prune.models.load import LoadedModel, load_model, load_tokenizer
from tests.architectures import CONFIGS, NUM_BLOCKS, VOCAB, WINDOW, save_tokenizer, tiny_model
from tests.conftest import HANGS_S

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny llama stored in float16 and its tokenizer."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    tiny_model(CONFIGS["llama"]()).half().save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def config(path: Path | str | None, seq_len: int = 32, **fields: object) -> ModelConfig:
    return ModelConfig(name="mine", path=None if path is None else str(path), seq_len=seq_len, **fields)  # type: ignore[arg-type]


def test_load_model(saved: Path) -> None:
    check_model(config(saved))
    loaded = load_model(config(saved), "cpu")
    assert isinstance(loaded, LoadedModel) and loaded.name == "mine"
    assert not loaded.model.training and loaded.model.dtype == torch.float16
    assert loaded.tokenizer("w5 w6")["input_ids"] == [5, 6]
    assert loaded.tokenizer.pad_token_id is None
    assert load_model(config(saved), "cpu", tokenizer=loaded.tokenizer).tokenizer is loaded.tokenizer


@pytest.mark.parametrize("dtype", [DType.float32, DType.bfloat16, DType.float64])
def test_the_asked_type_is_loaded(saved: Path, dtype: DType) -> None:
    model = load_model(config(saved, dtype=dtype), "cpu").model
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype.value)}


def test_the_embedded_model_is_loaded_in_float32(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune.models.files, "EMBEDDED_FOLDER", saved)
    assert load_model(config(None), "cpu").model.dtype == torch.float32
    assert model_window(config(None)) == WINDOW


def test_the_checks_import_neither_torch_nor_transformers(saved: Path) -> None:
    code = (
        "import sys; from prune.models.files import check_model, model_window; from prune.config.config import ModelConfig\n"
        f"config = ModelConfig(name='mine', path={str(saved)!r}, seq_len=8); check_model(config); model_window(config)\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGS_S)


def test_window(saved: Path, folder: Path) -> None:
    assert model_window(config(saved)) == WINDOW
    check_seq_len(config(saved), WINDOW, "calib.seq_len")
    longer = (
        r"^calib\.seq_len=65 is longer than the window of model mine: at most 64 tokens\. Give calib\.seq_len=64 or less\.$"
    )
    with pytest.raises(UserError, match=longer):
        check_seq_len(config(saved), WINDOW + 1, "calib.seq_len")
    with pytest.raises(UserError, match=r"^model\.seq_len=65"):
        check_model(config(saved, seq_len=65))
    for settings, window in (
        ({"n_positions": 10}, 10),
        ({"text_config": {"max_position_embeddings": 12}}, 12),
        ({"model_type": "bloom"}, None),
    ):
        (folder / "config.json").write_text(json.dumps(settings))
        assert model_window(config(folder)) == window


def remove(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


def cut(name: str, num_bytes: int) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:num_bytes])

    return spoil


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def name_missing_parts(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def encoder_decoder(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "is_encoder_decoder": True}))


BROKEN = {
    "missing": (shutil.rmtree, r"there is no such folder"),
    "empty": (empty, r"is an empty folder\. It must hold config\.json, weights and a tokenizer"),
    "no config": (remove("config.json"), r"has no config\.json"),
    "bad config": (cut("config.json", 20), r"config\.json is not valid JSON"),
    "no weights": (remove("model.safetensors"), r"has no weights: it must hold model\.safetensors"),
    "cut weights": (cut("model.safetensors", 9000), r"model\.safetensors is cut short or damaged"),
    "cut header": (cut("model.safetensors", 100), r"model\.safetensors is cut short or damaged"),
    "missing parts": (name_missing_parts, r"names weight files that are not there: .*00001-of-00002"),
    "no tokenizer": (remove("tokenizer.json"), r"has no tokenizer \(tokenizer\.json"),
    "encoder-decoder": (encoder_decoder, r"encoder-decoder"),
}


def header(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text.encode())

    return write


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"a": 3}', '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}}', '{"a": {}}', "no json"]
)
def test_a_strange_header_of_weights_is_one_message(folder: Path, text: str) -> None:
    header(text)(folder)
    with pytest.raises(UserError, match=r"model\.safetensors is cut short or damaged .* Fetch it again"):
        check_model(config(folder))


class Runs:
    """Runs a program when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


PICKLES: dict[str, Callable[[Path, Any], object]] = {
    "no pickle": lambda path, weights: path.write_bytes(b"garbage" * 1000),
    "empty": lambda path, weights: path.touch(),
    "cut": lambda path, weights: (torch.save(weights, path), path.write_bytes(path.read_bytes()[:5000])),
    "a program": lambda path, weights: torch.save({"a": Runs()}, path),
    "a list": lambda path, weights: torch.save([1, 2], path),
    "a pointer of git-lfs": lambda path, weights: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
}


@pytest.mark.parametrize("write", PICKLES.values(), ids=PICKLES)
def test_a_bad_bin_file_is_told_in_our_words(
    folder: Path, write: Callable[[Path, Any], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    write(folder / "pytorch_model.bin", weights)
    with pytest.raises(UserError, match=r"pytorch_model\.bin cannot be read as weights: .*\.safetensors") as caught:
        load_model(config(folder), "cpu")
    assert "weights_only" not in str(caught.value) and not (folder / "ran").exists()


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_one_message(folder: Path, case: str) -> None:
    spoil, message = BROKEN[case]
    spoil(folder)
    for check in (check_model, load_tokenizer, lambda broken: load_model(broken, "cpu")):
        with pytest.raises(UserError, match=message) as caught:
            check(config(folder))
        assert str(folder) in str(caught.value) or "mine" in str(caught.value)


def test_paths_that_are_no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"is a file\. Give its folder"):
        check_model(config(folder / "model.safetensors"))
    with pytest.raises(UserError, match="goes with a hub id"):
        check_model(config(folder, revision="main"))
    monkeypatch.setattr(prune.models.files, "EMBEDDED_FOLDER", folder / "gone")
    with pytest.raises(UserError, match="embedded model is missing"):
        check_model(config(None))


def test_a_damaged_tokenizer_is_a_user_error(folder: Path) -> None:
    cut("tokenizer.json", 300)(folder)
    with pytest.raises(UserError, match="the tokenizer could not be loaded"):
        load_tokenizer(config(folder))


def test_weights_missing_from_the_file_are_a_user_error(folder: Path) -> None:
    model = tiny_model(CONFIGS["llama"]())
    state = {name: tensor for name, tensor in model.state_dict().items() if "layers.1.mlp" not in name}
    model.save_pretrained(folder, state_dict=state)
    with pytest.raises(UserError, match=r"3 weights are missing .*layers\.1\.mlp"):
        load_model(config(folder), "cpu")


def test_an_unknown_architecture_is_a_user_error(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "no-such-thing", "max_position_embeddings": 64}))
    with pytest.raises(UserError, match=r"model mine: model_type no-such-thing .* is not a causal language model"):
        load_model(config(folder), "cpu")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("offline")
def test_a_hub_id_that_cannot_be_reached() -> None:
    with pytest.raises(UserError, match=r"model\.path=owner/name: .*cannot be reached .*hf download owner/name"):
        check_model(config("owner/name"))


def test_what_the_hub_answers_becomes_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx2
    from huggingface_hub import errors

    response = httpx2.Response(404, request=httpx2.Request("HEAD", "https://hub.invalid"))
    for kind, message in (
        (errors.GatedRepoError, "gated. Accept its terms on https://huggingface.co/owner/name"),
        (errors.RepositoryNotFoundError, "no such repository on the hub"),
        (errors.RevisionNotFoundError, "no such revision"),
        (errors.RemoteEntryNotFoundError, "the repository has no file config.json"),
        (errors.HfHubHTTPError, "the hub refused config.json: out of order"),
    ):

        def refuse(url: str, kind: type[errors.HfHubHTTPError] = kind) -> None:
            raise kind("out of order", response=response)

        monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", refuse)
        with pytest.raises(UserError) as caught:
            model_window(config("owner/name", revision="abc"))
        assert str(caught.value).startswith("model.path=owner/name model.revision=abc: ") and message in str(caught.value)


def write_gguf(path: Path, quantised: bool = False, template: str | None = None) -> None:
    """A GGUF file of two tensors; the header announces 100 tokens."""
    writer = gguf.GGUFWriter(path, "llama")
    if template is not None:
        writer.add_chat_template(template)
    writer.add_context_length(100)
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "</s>", "\u2581w"])
    writer.add_array("tokenizer.ggml.scores", [0.0, 0.5, 1.0])
    weight = np.arange(64 * 32, dtype=np.float32).reshape(64, 32)
    if quantised:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor("blk.0.attn_q.weight", gguf.quants.quantize(weight, kind), raw_dtype=kind)
    else:
        writer.add_tensor("blk.0.attn_q.weight", weight)
    writer.add_tensor("output_norm.weight", np.ones(32, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("quantised", [False, True])
def test_gguf_header(tmp_path: Path, quantised: bool) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path, quantised)
    header = read_gguf_header(path)
    last = gguf.GGUFReader(path).tensors[-1]
    assert (header.num_tensors, header.window) == (2, 100)
    assert header.num_bytes == last.data_offset + last.n_bytes <= path.stat().st_size
    assert model_window(config(tmp_path, gguf_file="model.gguf")) == 100
    check_model(config(tmp_path, seq_len=100, gguf_file="model.gguf"))


def test_a_gguf_header_tells_of_a_chat_template(tmp_path: Path) -> None:
    for template, expected in ((None, None), ("{{ messages }}", True)):
        folder = tmp_path / str(expected)
        folder.mkdir()
        write_gguf(folder / "model.gguf", template=template)
        assert has_chat_template(config(folder, gguf_file="model.gguf")) is expected


def test_gguf_that_is_cut_short_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path)
    whole = path.read_bytes()
    needed = read_gguf_header(path).num_bytes
    for num_bytes in [*range(0, 600, 7), needed // 2, needed - 1]:
        path.write_bytes(whole[:num_bytes])
        with pytest.raises(UserError, match="cut short"):
            check_model(config(tmp_path, gguf_file="model.gguf"))


def test_gguf_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"<html>" * 100)
    with pytest.raises(UserError, match="is not a GGUF file"):
        check_model(config(tmp_path, gguf_file="model.gguf"))
    with pytest.raises(UserError, match=r"there is no file .*other\.gguf"):
        check_model(config(tmp_path, gguf_file="other.gguf"))
    with pytest.raises(UserError, match=r"give model\.gguf_file=model\.gguf"):
        check_model(config(tmp_path))


@pytest.mark.parametrize("architecture", CONFIGS)
def test_blocks_and_linears(architecture: str) -> None:
    model = tiny_model(CONFIGS[architecture]())
    blocks = find_blocks(model)
    assert len(blocks) == NUM_BLOCKS
    in_blocks = sum(parameter.numel() for parameter in blocks.parameters() if parameter.dim() == 2)
    assert count_sparsity(model) == (0, in_blocks)
    for linear in find_linears(blocks[0]).values():
        weight_OI = read_weight(linear)
        x_I = torch.randn(weight_OI.shape[1])
        expected_O = weight_OI @ x_I + (0 if linear.bias is None else linear.bias)
        torch.testing.assert_close(linear(x_I[None, None])[0, 0], expected_O)


def test_write_weight_is_in_place_and_keeps_the_type() -> None:
    model = tiny_model(CONFIGS["gpt2"]()).bfloat16()
    linear = find_linears(find_blocks(model)[0])["attn.c_attn"]
    stored = linear.weight
    before = weights_sha256(model)
    weight_OI = torch.arange(48 * 16, dtype=torch.float32).view(48, 16)
    write_weight(linear, weight_OI)
    assert linear.weight is stored and stored.shape == (16, 48) and stored.dtype == torch.bfloat16
    assert torch.equal(read_weight(linear), weight_OI.bfloat16())
    assert weights_sha256(model) != before
    assert count_sparsity(model)[0] == 1


def test_quantised_and_empty_blocks_are_refused() -> None:
    block = nn.Sequential(nn.Linear(4, 4))
    block[0].weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(UserError, match=r"0 of Sequential is quantised \(torch\.uint8\)"):
        find_linears(block)
    with pytest.raises(UserError, match="no linear layer"):
        find_linears(nn.Sequential(nn.ReLU()))


def test_models_without_one_list_of_blocks_are_refused() -> None:
    model = tiny_model(LlamaConfig(**CONFIGS["llama"]().to_dict() | {"num_hidden_layers": 2}))
    model.config.num_hidden_layers = 5
    with pytest.raises(UserError, match="has no list of 5 blocks"):
        find_blocks(model)
    model.config.num_hidden_layers = 2
    model.model.others = nn.ModuleList([nn.ReLU(), nn.ReLU()])
    with pytest.raises(UserError, match=r"several lists of 2 blocks \(model\.layers, model\.others\)"):
        find_blocks(model)
    small = T5Config(vocab_size=VOCAB, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    with pytest.raises(UserError, match="encoder-decoder"):
        find_blocks(T5ForConditionalGeneration(small))


def test_weights_sha256_depends_on_every_weight_and_nothing_else(saved: Path) -> None:
    first, second = (load_model(config(saved), "cpu").model for _ in range(2))
    assert weights_sha256(first) == weights_sha256(second)
    with torch.no_grad():
        second.lm_head.weight[3, 3] += 1
    assert weights_sha256(first) != weights_sha256(second)


def test_weights_sha256_is_that_of_each_entry_by_itself_and_tied_ones_are_hashed_once(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(config(saved), "cpu").model
    model.lm_head.weight = model.get_input_embeddings().weight
    lines = [
        f"{name} {tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(tensor.numpy().tobytes()).hexdigest()}\n"
        for name, tensor in sorted(model.state_dict().items())
    ]
    described: list[int] = []
    describe = blocks._describe_entry
    monkeypatch.setattr(blocks, "_describe_entry", lambda tensor: described.append(tensor.data_ptr()) or describe(tensor))
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert weights_sha256(model) == expected and len(described) == len(lines) - 1
    other = {name: tensor + 1 for name, tensor in model.state_dict().items() if name == "lm_head.weight"}
    assert weights_sha256(model, {name: partial(torch.clone, tensor) for name, tensor in other.items()}) != expected
    twin = {name: model.state_dict()[name].clone for name in other}
    assert weights_sha256(model, twin) == expected
