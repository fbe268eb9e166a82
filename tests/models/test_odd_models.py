"""Models that are odd in their own way: pruned right, or refused for the true reason before anything is computed."""

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    DbrxConfig,
    FalconH1Config,
    FalconMambaConfig,
    GPTJConfig,
    GraniteConfig,
    GraniteMoeHybridConfig,
    JambaConfig,
    JetMoeConfig,
    Llama4TextConfig,
    MambaConfig,
    MptConfig,
    PretrainedConfig,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5TextConfig,
    Qwen3_5VisionConfig,
    RecurrentGemmaConfig,
    RwkvConfig,
    XLNetConfig,
    Zamba2Config,
    ZambaConfig,
)
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from prune.config.content import files_sha256
from prune.config.eval import Bos
from prune.config.model import ModelConfig
from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, weights_sha256
from prune.models.bos import text_ids
from prune.models.fetch import needed_files
from prune.models.files import EMBEDDED_FOLDER, check_model
from prune.models.fit import bos_note
from prune.models.identity import tokenizer_identity
from prune.models.load import load_model
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.methods.wanda import Wanda
from prune.pruning.saved import save_model
from prune.pruning.sparsity import Unstructured
from tests.architectures import CONFIGS, NUM_BLOCKS, VOCAB, calibration_set, save_tokenizer, tiny_model
from tests.mixtures import mixture

SMALL = {
    **{"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 64},
    **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": NUM_BLOCKS, "num_attention_heads": 4},
    "num_key_value_heads": 2,
}
MAMBA = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": NUM_BLOCKS, "state_size": 8, "pad_token_id": 0}


def config(folder: Path, **fields: Any) -> ModelConfig:
    return ModelConfig(name="odd", path=str(folder), seq_len=32, **fields)


def save(folder: Path, kind: PretrainedConfig | None = None) -> Path:
    """A tiny model with its tokenizer; a Llama by default."""
    tiny_model(kind or CONFIGS["llama"]()).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def edit_config(folder: Path, **changes: Any) -> None:
    edit_json(folder / "config.json", **changes)


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, edit: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = folder / "model.safetensors"
    save_file(edit(load_file(path)), path, metadata={"format": "pt"})


def check_refused(folder: Path, message: str) -> None:
    """Refused by what the files show, without loading."""
    with pytest.raises(UserError, match=message):
        check_model(config(folder))


# --- quantised ---


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq, by quantization_config"),
        ({"quantization_config": {"quant_method": "awq"}}, "awq"),
        ({"quantization_config": {"load_in_4bit": True}}, "in an unknown way"),
        ({"text_config": {"quantization_config": {"quant_method": "compressed-tensors"}}}, "compressed-tensors"),
        ({"quantization_config": "int8"}, "int8"),
    ],
)
def test_a_configuration_that_says_quantised(tmp_path: Path, settings: dict[str, Any], method: str) -> None:
    edit_config(save(tmp_path), **settings)
    check_refused(tmp_path, rf"model odd is quantised \({method}.*de-quantise it first")


def scaled(dtype: torch.dtype, name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Matrices of the blocks in `dtype`, with a scale under a `name` beside each; none where that is empty."""

    def edit(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        stored = dict(tensors)
        for key, tensor in tensors.items():
            if key.endswith("_proj.weight"):
                stored[key] = (tensor * 100).to(dtype)
                stored |= {key.replace("weight", name): torch.ones(1)} if name else {}
        return stored

    return edit


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.float8_e4m3fn, "weight_scale"),
        (torch.float8_e5m2, ""),
        (torch.int8, "SCB"),
        (torch.int32, "scales"),
        (torch.float16, "weight_scale_inv"),
    ],
)
def test_weights_that_are_scaled_in_the_file(tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    edit_weights(save(tmp_path), scaled(dtype, name))
    check_refused(tmp_path, r"model odd is quantised \(model\.layers\.0\..* config\.json names no method")


def test_integers_that_are_masks_are_no_weights(tmp_path: Path) -> None:
    mask = {"transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8, dtype=torch.uint8)}
    edit_weights(save(tmp_path, CONFIGS["gpt2"]()), lambda tensors: tensors | mask)
    loaded = load_model(config(tmp_path), "cpu")
    assert loaded.notes == () and loaded.share_zero == 0


def test_float8_that_config_json_describes_is_de_quantised(tmp_path: Path) -> None:
    def quantise(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        stored = dict(tensors)
        for key in [key for key in tensors if key.endswith("_proj.weight")]:
            stored[key] = (tensors[key] * 8).to(torch.float8_e4m3fn)
            stored[f"{key}_scale_inv"] = torch.full((1, 1), 1 / 8)
        return stored

    edit_weights(save(tmp_path), quantise)
    edit_config(tmp_path, quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]})
    expected = load_file(tmp_path / "model.safetensors")["model.layers.1.mlp.up_proj.weight"].float() / 8
    weight = load_model(config(tmp_path), "cpu").linears[1]["mlp.up_proj"].weight
    torch.testing.assert_close(weight.float(), expected, rtol=1e-2, atol=1e-3)


# --- blocks that config.json and files disagree on ---


@pytest.mark.parametrize(
    ("kind", "key", "extra"),
    [
        ("llama", "num_hidden_layers", "model.layers.2"),
        ("gpt2", "n_layer", "h.2"),
        ("opt", "num_hidden_layers", "model.decoder.layers.2"),
    ],
)
def test_blocks_that_are_left_over_and_that_are_missing(tmp_path: Path, kind: str, key: str, extra: str) -> None:
    edit_config(save(tmp_path, CONFIGS[kind]()), **{key: NUM_BLOCKS - 1})
    check_refused(tmp_path, rf"config\.json says 2 blocks, and the weights have 3: .*{extra} is left over")
    edit_config(tmp_path, **{key: NUM_BLOCKS + 1})
    check_refused(tmp_path, r"config\.json says 4 blocks, and the weights have at most 3")


def test_blocks_of_a_type_that_is_not_looked_into(tmp_path: Path) -> None:
    edit_config(save(tmp_path, GraniteConfig(**SMALL)), num_hidden_layers=2)
    check_refused(tmp_path, r"says 2 blocks, and the weights have 3: model\.layers\.2 is left over")
    edit_config(tmp_path, num_hidden_layers=4)
    with pytest.raises(UserError, match=r"weights are missing from the files, such as \['model\.layers\.3"):
        load_model(config(tmp_path), "cpu")


def test_pickled_weights_show_it_when_they_are_loaded(tmp_path: Path) -> None:
    tensors = load_file(save(tmp_path) / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    edit_config(tmp_path, num_hidden_layers=2)
    with pytest.raises(UserError, match=r"9 weights of blocks for which its config\.json has no place, such as .*layers\.2"):
        load_model(config(tmp_path), "cpu")


def test_a_bias_that_the_configuration_denies_is_refused(tmp_path: Path) -> None:
    edit_weights(save(tmp_path), lambda tensors: tensors | {"model.layers.1.self_attn.q_proj.bias": torch.ones(16)})
    with pytest.raises(UserError, match=r"1 weights of blocks .*layers\.1\.self_attn\.q_proj\.bias"):
        load_model(config(tmp_path), "cpu")


# --- tensors that are left out ---


def with_vision(folder: Path) -> Path:
    """A text model with a vision tower and a block that predicts several tokens."""
    linear = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4}
    text = Qwen3_5TextConfig(**SMALL, **linear, head_dim=8, full_attention_interval=2)
    vision = Qwen3_5VisionConfig(depth=1, hidden_size=16, intermediate_size=16, num_heads=2, out_hidden_size=16)
    torch.manual_seed(0)
    whole = Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=text.to_dict(), vision_config=vision.to_dict()))
    whole.save_pretrained(folder)
    save_tokenizer(folder)
    edit_weights(folder, lambda tensors: tensors | {"mtp.layers.0.mlp.up_proj.weight": torch.ones(4, 4)})
    (folder / "preprocessor_config.json").write_text("{}")
    return folder


def test_parts_of_the_file_that_are_no_language_model_are_named(tmp_path: Path) -> None:
    num_visual = sum(name.startswith("model.visual.") for name in load_file(with_vision(tmp_path) / "model.safetensors"))
    (note,) = load_model(config(tmp_path), "cpu").notes
    assert f"{num_visual + 1} tensors" in note and f"{num_visual} model.visual.*" in note and "1 mtp.layers.0.*" in note
    assert "save=model writes them beside it" in note


def saved_files(folder: Path) -> dict[str, Tensor]:
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def test_a_model_with_other_parts_is_saved_whole(tmp_path: Path) -> None:
    loaded = load_model(config(with_vision(tmp_path / "dense")), "cpu")
    prune_model(loaded.model, calibration_set(), Wanda(), Unstructured(0.5), batch_size=2)
    save_model(tmp_path / "pruned", loaded, "# card\n")
    before, after = saved_files(tmp_path / "dense"), saved_files(tmp_path / "pruned")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == sum(map(len, loaded.linears)) and not any("visual" in name or "mtp" in name for name in changed)
    tokens = calibration_set().tokens_NL
    text = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned")
    whole = AutoModelForImageTextToText.from_pretrained(tmp_path / "pruned")
    assert isinstance(whole, Qwen3_5ForConditionalGeneration)
    with torch.no_grad():
        expected = loaded.model(tokens).logits
        torch.testing.assert_close(text(tokens).logits, expected, rtol=0, atol=0)
        torch.testing.assert_close(whole(tokens).logits, expected)
    assert "tensors that are not part of its language model, as they were" in (tmp_path / "pruned/README.md").read_text()
    assert (tmp_path / "pruned/preprocessor_config.json").is_file()
    again = load_model(config(tmp_path / "pruned"), "cpu")
    assert again.left_out == loaded.left_out and again.share_zero == pytest.approx(0.5, abs=0.01)


def test_tensors_beside_the_blocks_are_named_and_kept(tmp_path: Path) -> None:
    others = {"draft_head.weight": torch.ones(4), "score.weight": torch.ones(4)}
    edit_weights(
        save(tmp_path / "dense"),
        lambda tensors: tensors | others | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)},
    )
    loaded = load_model(config(tmp_path / "dense"), "cpu")
    (note,) = loaded.notes
    assert "2 tensors" in note and "draft_head" in note and "score" in note
    save_model(tmp_path / "saved", loaded, "")
    assert saved_files(tmp_path / "saved").keys() == saved_files(tmp_path / "dense").keys() - {
        "model.layers.0.self_attn.rotary_emb.inv_freq"
    }
    assert weights_sha256(load_model(config(tmp_path / "saved"), "cpu").model) == weights_sha256(loaded.model)


def test_what_cannot_be_kept_is_said_by_note_and_card(tmp_path: Path) -> None:
    tensors = load_file(save(tmp_path / "dense") / "model.safetensors") | {"draft_head.weight": torch.ones(4)}
    (tmp_path / "dense/model.safetensors").unlink()
    torch.save(tensors, tmp_path / "dense/pytorch_model.bin")
    loaded = load_model(config(tmp_path / "dense"), "cpu")
    assert "save=model does not write them" in loaded.notes[0]
    save_model(tmp_path / "saved", loaded, "")
    assert "This folder is without 1 tensors" in (tmp_path / "saved/README.md").read_text()
    assert weights_sha256(load_model(config(tmp_path / "saved"), "cpu").model) == weights_sha256(loaded.model)


# --- adapters ---


def test_an_adapter_instead_of_a_model_and_beside_one(tmp_path: Path) -> None:
    about = tmp_path / "adapter_config.json"
    about.write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "owner/base"}))
    check_refused(tmp_path, r"adapter \(adapter_config\.json\) and no model\. Merge it into its base model owner/base")
    save(tmp_path)
    check_refused(tmp_path, r"beside the model, which would not be applied\. Merge it .*or move the adapter elsewhere")
    about.unlink()
    (tmp_path / "adapter_model.bin").touch()
    check_refused(tmp_path, r"adapter \(adapter_model\.bin\) beside the model")
    (tmp_path / "adapter_model.bin").unlink()
    check_model(config(tmp_path))
    with pytest.raises(UserError, match=r"there is an adapter \(adapter_model\.safetensors\) and no model"):
        needed_files(["adapter_model.safetensors", "README.md"], None, lambda _: [])


# --- experts and other matrices ---


def dbrx() -> PretrainedConfig:
    attention, experts = {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4}, {"ffn_hidden_size": 32, "moe_num_experts": 4}
    return DbrxConfig(
        vocab_size=VOCAB, d_model=16, n_heads=4, n_layers=2, max_seq_len=64, attn_config=attention, ffn_config=experts
    )


EXPERTS = {
    "dbrx": (dbrx, "its experts", r"DbrxBlock holds mixture-of-experts weights .*\(ffn\.experts\.mlp\.w1, 128 x 16\)"),
    "llama4_text": (
        lambda: Llama4TextConfig(**SMALL, num_local_experts=4, intermediate_size_mlp=16, head_dim=8),
        "all run on every token",
        r"Llama4TextDecoderLayer holds .*\(feed_forward\.experts\.gate_up_proj, 4 x 16 x 64\)",
    ),
    "jetmoe": (
        lambda: JetMoeConfig(**SMALL, num_local_experts=4),
        "its attention is a mixture of experts as well",
        r"JetMoeDecoderLayer holds .*\(self_attention\.experts\.input_linear\.weight, 4 x 256 x 16\)",
    ),
}


@pytest.mark.parametrize("kind", EXPERTS)
def test_experts_of_another_layout_are_refused_by_type_and_by_their_tensors(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, reason, tensor = EXPERTS[kind]
    save(tmp_path, make())
    check_refused(tmp_path, rf"model odd: model_type {kind} cannot be pruned block by block: .*{reason}")
    monkeypatch.setattr("prune.models.checks.UNFIT", {})
    with pytest.raises(UserError, match=rf"model odd \(.*{tensor} in a layout that is not known"):
        load_model(config(tmp_path), "cpu")


def test_a_matrix_beside_known_experts_is_named_and_a_router_is_not() -> None:
    block = find_blocks(tiny_model(mixture("mixtral")))[0]
    assert not any("gate" in name.split(".") for name in find_linears(block))
    block.mlp.scales = nn.Parameter(torch.ones(4, 4))
    with pytest.raises(UserError, match=r"MixtralDecoderLayer holds other weights in one tensor \(mlp\.scales, 4 x 4\)"):
        find_linears(block)


def test_only_beside_experts_a_gate_is_a_router() -> None:
    block = nn.ModuleDict({"gate": nn.Linear(4, 1), "router": nn.Linear(4, 4)})
    assert list(find_linears(block)) == ["gate", "router"]


OTHERS = {
    "recurrent_gemma": (lambda: RecurrentGemmaConfig(**SMALL, lru_width=16), "rg_lru.input_gate_weight, 4 x 4 x 4"),
    "xlnet": (lambda: XLNetConfig(vocab_size=VOCAB, d_model=16, n_layer=2, n_head=4, d_inner=32), "rel_attn.q, 16 x 4 x 4"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_matrices_that_are_no_linears_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    make, name = OTHERS[kind]
    with pytest.raises(UserError, match=rf"model odd \(.*holds other weights in one tensor \(.*{name}\)"):
        load_model(config(save(tmp_path, make())), "cpu")


def test_a_vector_with_further_dimensions_is_no_matrix() -> None:
    block = nn.Sequential(nn.Linear(4, 4))
    block.time_mix = nn.Parameter(torch.ones(1, 1, 4))
    assert list(find_linears(block)) == ["0"]
    block.mixture = nn.Parameter(torch.ones(2, 4))
    with pytest.raises(UserError, match=r"other weights in one tensor \(mixture, 2 x 4\)"):
        find_linears(block)


STATES = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8}
USABLE: dict[str, Callable[[], PretrainedConfig]] = {
    "granitemoehybrid": lambda: GraniteMoeHybridConfig(
        **SMALL, **STATES, num_local_experts=0, shared_intermediate_size=32, layer_types=["mamba", "attention", "mamba"]
    ),
    "falcon_h1": lambda: FalconH1Config(**SMALL, **STATES, mamba_d_ssm=32),
    "mpt": lambda: MptConfig(vocab_size=VOCAB, d_model=16, n_layers=2, n_heads=4, max_seq_len=64),
    "gptj": lambda: GPTJConfig(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=4, rotary_dim=4, n_positions=64),
}


@pytest.mark.parametrize("kind", USABLE)
def test_usual_models_of_rare_types_stay_usable(tmp_path: Path, kind: str) -> None:
    loaded = load_model(config(save(tmp_path, USABLE[kind]())), "cpu")
    assert loaded.notes == () and all(loaded.linears)


MAMBAS = {
    "jamba": lambda: JambaConfig(**SMALL, num_experts=1, attn_layer_period=2, attn_layer_offset=1, mamba_d_state=8),
    "mamba": lambda: MambaConfig(**MAMBA),
    "falcon_mamba": lambda: FalconMambaConfig(**MAMBA),
}


@pytest.mark.parametrize("kind", MAMBAS)
def test_a_mamba_is_pruned_without_the_projection_that_it_never_calls(tmp_path: Path, kind: str) -> None:
    loaded = load_model(config(save(tmp_path, MAMBAS[kind]())), "cpu")
    assert not any("dt_proj" in name for named in loaded.linears for name in named)
    (note,) = loaded.notes
    num_mixers = 2 if kind == "jamba" else NUM_BLOCKS
    assert note.startswith(f"{num_mixers} linears (") and "dt_proj; " in note and "are never pruned" in note
    dense = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items() if "dt_proj" in name}
    reports = prune_model(loaded.model, calibration_set(), Wanda(), Unstructured(0.5), batch_size=2)
    check_reached(Unstructured(0.5), Wanda(), reports)
    assert dense and all(torch.equal(loaded.model.state_dict()[name], tensor) for name, tensor in dense.items())


def test_a_type_that_changes_itself_is_refused(tmp_path: Path) -> None:
    save(tmp_path, RwkvConfig(vocab_size=VOCAB, context_length=64, hidden_size=16, num_hidden_layers=2))
    check_refused(tmp_path, "model_type rwkv cannot be pruned block by block: it changes its own weights")


ZAMBA = SMALL | {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2}


def test_blocks_that_share_their_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"mamba_d_state": 8, "n_mamba_heads": 4, "mamba_headdim": 8, "num_mem_blocks": 1}
    save(tmp_path, Zamba2Config(**ZAMBA, **more))
    check_refused(tmp_path, "model_type zamba2 cannot be pruned block by block: its hybrid blocks share the weights of one")
    monkeypatch.setattr("prune.models.checks.UNFIT", {})
    with pytest.raises(UserError, match=r"model odd \(.*blocks 1 and 3 share one weight \(shared_transformer\."):
        load_model(config(tmp_path), "cpu")
    save(tmp_path / "first", ZambaConfig(**ZAMBA, mamba_d_state=8, n_mamba_heads=2))
    monkeypatch.undo()
    check_refused(tmp_path / "first", "model_type zamba cannot be pruned block by block")


# --- zeros that were there ---


@pytest.mark.parametrize("share", [0.0, 0.25, 0.7])
def test_zeros_that_came_with_the_model_are_counted(tmp_path: Path, share: float) -> None:
    def drop(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        stored = {key: tensor.clone() for key, tensor in tensors.items()}
        for key, tensor in stored.items():
            if key.endswith("_proj.weight"):
                tensor.view(-1)[: round(share * tensor.numel())] = 0
        return stored

    edit_weights(save(tmp_path), drop)
    loaded = load_model(config(tmp_path), "cpu")
    assert loaded.share_zero == pytest.approx(share, abs=0.01)
    assert any("were 0 before pruning" in note for note in loaded.notes) == (share > 0)


# --- tokens ---


def add_tokens(folder: Path, *names: str, special: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(list(names), special_tokens=special)
    tokenizer.save_pretrained(folder)


def test_tokens_beyond_the_embedding(tmp_path: Path) -> None:
    save(tmp_path)
    add_tokens(tmp_path, "<image>", special=True)
    load_model(config(tmp_path), "cpu")  # no text becomes it
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.bos_token = "<image>"
    tokenizer.save_pretrained(tmp_path)
    load_model(config(tmp_path), "cpu")
    with pytest.raises(UserError, match=r"embedding of 64 rows does not have, such as '<image>' \(64\)"):
        load_model(config(tmp_path, bos=Bos.text), "cpu")
    add_tokens(tmp_path, "usual", special=False)
    with pytest.raises(
        UserError, match=r"model odd \(.*such as 'usual' \(65\)\. Give the tokenizer that belongs to the model"
    ):
        load_model(config(tmp_path), "cpu")


class MistralCommonBackend:
    """As the class of this name in transformers: it takes all text as text, and no word about it."""

    def __call__(self, texts: list[str], split_special_tokens: bool = False, **switches: Any) -> dict[str, list[list[int]]]:
        assert not split_special_tokens and not switches["add_special_tokens"]
        return {"input_ids": [[ord(letter) for letter in text] for text in texts]}


class Tekken(MistralCommonBackend):
    """A tokenizer made of it."""


@pytest.mark.parametrize("kind", [MistralCommonBackend, Tekken])
def test_a_tokenizer_that_takes_all_text_as_text(kind: type[MistralCommonBackend]) -> None:
    assert text_ids(kind(), ["ab", "</s>"]) == [[97, 98], [60, 47, 115, 62]]


def test_special_tokens_in_a_text_are_text(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    assert text_ids(AutoTokenizer.from_pretrained(tmp_path), ["w5 w6", "w5"]) == [[5, 6], [5]]


def test_what_reads_mistrals_own_tokenizer_identifies_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (save(tmp_path) / "tekken.json").write_text("{}")
    identities = []
    for found in (None, object()):
        monkeypatch.setattr("prune.models.identity.find_spec", lambda name, found=found: found)
        identities.append(tokenizer_identity(config(tmp_path)))
    assert identities[0] != identities[1]


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "qwen3_5", "jamba", "mistral3", "gemma3_text"])
@pytest.mark.parametrize("named", [None, "TokenizersBackend", "Qwen2TokenizerFast", "GPT2Tokenizer"])
def test_one_identity_of_a_tokenizer_means_one_class(tmp_path: Path, named: str | None, model_type: str) -> None:
    """Two folders differ in the model type alone: where transformers takes two classes, they are two tokenizers."""
    folders = [tmp_path / name for name in ("plain", "odd")]
    for folder, kind in zip(folders, ("llama", model_type), strict=True):
        shutil.copytree(EMBEDDED_FOLDER, folder)
        edit_json(folder / "config.json", model_type=kind)
        edit_json(folder / "tokenizer_config.json", tokenizer_class=named)
    plain, odd = (tokenizer_identity(config(folder)) for folder in folders)
    plain_class, odd_class = (type(AutoTokenizer.from_pretrained(folder)) for folder in folders)
    assert plain != odd or plain_class is odd_class


def test_a_llamas_tokenizer_is_identified_by_its_files_alone(tmp_path: Path) -> None:
    files = {name: EMBEDDED_FOLDER / name for name in ("tokenizer.json", "tokenizer_config.json")}
    assert tokenizer_identity(config(EMBEDDED_FOLDER)) == {"tokenizer": files_sha256(files)[:16]}
    assert TOKENIZER_MAPPING_NAMES.get("llama") is None, "transformers registers one now: the model type counts"


@pytest.mark.skipif(find_spec("mistral_common") is not None, reason="mistral-common is installed")
def test_mistrals_own_tokenizer_alone_needs_its_package(tmp_path: Path) -> None:
    (save(tmp_path) / "tokenizer.json").rename(tmp_path / "tekken.json")
    check_refused(tmp_path, r"its tokenizer tekken\.json needs a package: pip install mistral-common")


@pytest.mark.parametrize("kind", ["gemma", "gemma2", "gemma3_text", "recurrent_gemma", "vaultgemma", "llama"])
def test_a_gemma_without_bos_in_each_chunk_is_noted(tmp_path: Path, kind: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    note = bos_note(config(tmp_path), Bos.tokenizer)
    assert bos_note(config(tmp_path), Bos.chunk) is None
    assert (note is None) == (kind == "llama")
    assert note is None or (f"is a {kind}" in note and "eval.bos=tokenizer" in note and "model.bos=chunk" in note)


def test_blocks_and_linears_are_found_once(tmp_path: Path) -> None:
    loaded = load_model(config(save(tmp_path)), "cpu")
    assert loaded.blocks is loaded.model.model.layers and loaded.linears is loaded.linears
    assert [list(named) for named in loaded.linears] == [list(loaded.linears[0])] * NUM_BLOCKS
