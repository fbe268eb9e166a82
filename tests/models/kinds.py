"""Tiny configurations of the model types in docs/models.md, beside those of tests/architectures.py.

Each is made when it is asked for, as transformers imports a type's module only then.
"""

from collections.abc import Callable
from typing import Any

import transformers
from transformers import PretrainedConfig

from tests.architectures import NUM_BLOCKS, VOCAB

Make = Callable[[], PretrainedConfig]

IMAGE, VIDEO = 5, 6
"""Tokens that stand for an image; texts have none."""
SMALL: dict[str, Any] = {
    **{"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 64},
    **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": NUM_BLOCKS, "num_attention_heads": 4},
    "num_key_value_heads": 2,
}
UNGROUPED = {key: value for key, value in SMALL.items() if key != "num_key_value_heads"}
MAMBA = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": NUM_BLOCKS, "state_size": 8, "pad_token_id": 0}
STATES = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 8}
LINEAR = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4}
GPT = {"vocab_size": VOCAB, "n_embd": 16, "n_layer": NUM_BLOCKS, "n_head": 4, "n_positions": 64}
TWICE = SMALL | {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2}
CONV = {"layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": False}


def of(name: str, **settings: Any) -> Make:
    """Makes the configuration of that class."""
    return lambda: getattr(transformers, name)(**settings)  # type: ignore[no-any-return]


HYBRIDS: dict[str, tuple[str, Make]] = {
    "qwen3_next": (
        "linear attention (gated DeltaNet) and attention",
        of(
            "Qwen3NextConfig",
            **SMALL,
            **LINEAR,
            head_dim=8,
            full_attention_interval=2,
            num_experts=0,
            mlp_only_layers=[0, 1, 2],
        ),
    ),
    "qwen3_5_text": (
        "linear attention (gated DeltaNet) and attention",
        of("Qwen3_5TextConfig", **SMALL, **LINEAR, head_dim=8, full_attention_interval=2),
    ),
    "olmo_hybrid": (
        "linear attention (gated DeltaNet) and attention",
        of("OlmoHybridConfig", **SMALL, **LINEAR, layer_types=["linear_attention", "full_attention", "linear_attention"]),
    ),
    "lfm2": ("short convolutions and attention", of("Lfm2Config", **SMALL, **CONV)),
    "lfm3": ("short convolutions and attention", of("Lfm3Config", **SMALL)),
    "mamba": ("Mamba", of("MambaConfig", **MAMBA)),
    "falcon_mamba": ("Mamba", of("FalconMambaConfig", **MAMBA)),
    "mamba2": ("Mamba 2", of("Mamba2Config", **MAMBA, num_heads=4, head_dim=8, n_groups=2, chunk_size=8)),
    "jamba": (
        "Mamba and attention",
        of("JambaConfig", **SMALL, num_experts=1, attn_layer_period=2, attn_layer_offset=1, mamba_d_state=8),
    ),
    "bamba": ("Mamba 2 and attention", of("BambaConfig", **SMALL, **STATES, attn_layer_indices=[1])),
    "falcon_h1": ("Mamba 2 and attention in each block", of("FalconH1Config", **SMALL, **STATES, mamba_d_ssm=32)),
    "granitemoehybrid": (
        "Mamba 2 and attention",
        of(
            "GraniteMoeHybridConfig",
            **SMALL,
            **STATES,
            num_local_experts=0,
            shared_intermediate_size=32,
            layer_types=["mamba", "attention", "mamba"],
        ),
    ),
    "nemotron_h": (
        "Mamba 2, attention and MLP in blocks of their own",
        of(
            "NemotronHConfig",
            **SMALL,
            layers_block_type=["mamba", "attention", "mlp"],
            mamba_num_heads=4,
            mamba_head_dim=8,
            ssm_state_size=8,
            n_groups=2,
            chunk_size=8,
        ),
    ),
    "xlstm": ("xLSTM", of("xLSTMConfig", vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_heads=2)),
}
"""Type -> what its blocks are made of, and a configuration without experts."""

REFUSED: dict[str, tuple[Make, str]] = {
    "recurrent_gemma": (of("RecurrentGemmaConfig", **SMALL, lru_width=16), "rg_lru.input_gate_weight, 4 x 4 x 4"),
    "gemma3n_text": (
        of(
            "Gemma3nTextConfig",
            **SMALL | {"num_hidden_layers": 2},
            head_dim=8,
            vocab_size_per_layer_input=VOCAB,
            hidden_size_per_layer_input=4,
            laurel_rank=4,
            num_kv_shared_layers=0,
            activation_sparsity_pattern=[0.0] * 2,
            layer_types=["sliding_attention", "full_attention"],
        ),
        "gives block 0 hidden states of shape (4, 1, 8, 16)",
    ),
    "rwkv": (
        of("RwkvConfig", vocab_size=VOCAB, context_length=64, hidden_size=16, num_hidden_layers=2),
        "it changes its own weights while it runs (rescale_every in config.json), and reads padding like text",
    ),
    "zamba": (
        of("ZambaConfig", **TWICE, mamba_d_state=8, n_mamba_heads=2),
        "its hybrid blocks share the weights of one transformer block",
    ),
    "zamba2": (
        of("Zamba2Config", **TWICE, mamba_d_state=8, n_mamba_heads=4, mamba_headdim=8, num_mem_blocks=1),
        "its hybrid blocks share the weights of one or two transformer blocks",
    ),
}
"""Type -> a configuration, and the reason that it is refused for."""


def mllama() -> PretrainedConfig:
    """Block 1 attends to an image alone."""
    tower = CLIP | {
        "attention_heads": 2,
        "num_global_layers": 1,
        "vision_output_dim": 32,
        "intermediate_layers_indices": [0],
    }
    settings = {key: value for key, value in tower.items() if key not in ("model_type", "projection_dim")}
    text_settings = SMALL | {"cross_attention_layers": [1]}
    return transformers.MllamaConfig(text_config=text_settings, vision_config=settings)


CLIP = {
    **{"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2},
    **{"num_attention_heads": 2, "image_size": 16, "patch_size": 8, "projection_dim": 16},
}
SIGLIP = {key: value for key, value in CLIP.items() if key != "projection_dim"} | {"model_type": "siglip_vision_model"}
PIXTRAL = SIGLIP | {"model_type": "pixtral", "head_dim": 8}
SIGLIP2 = {key: value for key, value in SIGLIP.items() if key != "image_size"} | {
    **{"model_type": "siglip2_vision_model", "num_patches": 4},
}
INTERN = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2} | {
    **{"image_size": [16, 16], "patch_size": [8, 8]},
}
QWEN_TOWER = {"depth": 2, "hidden_size": 16, "num_heads": 2}
IDS = {"image_token_id": IMAGE, "video_token_id": VIDEO}
ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 0]}
WIDE_ROPE = ROPE | {"mrope_section": [2, 1, 1]}


def text(kind: str, **more: Any) -> dict[str, Any]:
    """The settings of a text model inside another."""
    return SMALL | {"model_type": kind} | more


MULTIMODAL: dict[str, Make] = {
    "llava": of(
        "LlavaConfig", text_config=text("llama"), vision_config=CLIP | {"num_hidden_layers": 3}, image_token_index=IMAGE
    ),
    "llava_next": of("LlavaNextConfig", text_config=text("llama"), vision_config=CLIP, image_token_index=IMAGE),
    "llava_onevision": of(
        "LlavaOnevisionConfig",
        text_config=text("qwen2"),
        vision_config=SIGLIP,
        image_token_index=IMAGE,
        video_token_index=VIDEO,
    ),
    "mistral3": of(
        "Mistral3Config", text_config=text("mistral", head_dim=8), vision_config=PIXTRAL, image_token_index=IMAGE
    ),
    "qwen2_vl": of(
        "Qwen2VLConfig",
        text_config=SMALL | {"rope_parameters": ROPE},
        vision_config=QWEN_TOWER | {"embed_dim": 16, "mlp_ratio": 2},
        **IDS,
    ),
    "qwen2_5_vl": of(
        "Qwen2_5_VLConfig",
        text_config=SMALL | {"rope_parameters": ROPE},
        vision_config=QWEN_TOWER | {"intermediate_size": 16, "out_hidden_size": 16},
        **IDS,
    ),
    "qwen3_vl": of(
        "Qwen3VLConfig",
        text_config=SMALL | {"head_dim": 8, "rope_parameters": WIDE_ROPE},
        vision_config=QWEN_TOWER | {"intermediate_size": 16, "out_hidden_size": 16, "deepstack_visual_indexes": [0]},
        **IDS,
    ),
    "paligemma": of(
        "PaliGemmaConfig",
        text_config=text("gemma", head_dim=8),
        vision_config=SIGLIP,
        image_token_index=IMAGE,
        projection_dim=16,
        hidden_size=16,
    ),
    "idefics3": of(
        "Idefics3Config",
        text_config=text("llama"),
        vision_config=SIGLIP | {"model_type": "idefics3_vision"},
        image_token_id=IMAGE,
    ),
    "smolvlm": of(
        "SmolVLMConfig",
        text_config=text("llama"),
        vision_config=SIGLIP | {"model_type": "smolvlm_vision"},
        image_token_id=IMAGE,
    ),
    "internvl": of("InternVLConfig", text_config=text("qwen2"), vision_config=INTERN, image_token_id=IMAGE),
    "lfm2_vl": of(
        "Lfm2VlConfig",
        text_config=text("lfm2", **CONV),
        vision_config=SIGLIP2,
        image_token_id=IMAGE,
        projector_hidden_size=16,
    ),
    "gemma3": of(
        "Gemma3Config",
        text_config=SMALL | {"head_dim": 8, "sliding_window": 4},
        vision_config=SIGLIP,
        mm_tokens_per_image=1,
        image_token_index=IMAGE,
    ),
}
"""Type -> a configuration with a vision tower; that of llava has as many blocks as the text decoder."""

HEADS = {"head_dim": 8}
PLAIN: dict[str, Make] = {
    "apertus": of("ApertusConfig", **SMALL),
    "arcee": of("ArceeConfig", **SMALL),
    "biogpt": of("BioGptConfig", **UNGROUPED),
    "bitnet": of("BitNetConfig", **SMALL),
    "bloom": of("BloomConfig", vocab_size=VOCAB, hidden_size=16, n_layer=NUM_BLOCKS, n_head=4),
    "codegen": of("CodeGenConfig", **GPT, rotary_dim=4),
    "cohere2": of("Cohere2Config", **SMALL),
    "cwm": of("CwmConfig", **SMALL, **HEADS),
    "diffllama": of("DiffLlamaConfig", **SMALL),
    "doge": of("DogeConfig", **SMALL),
    "ernie4_5": of("Ernie4_5Config", **SMALL),
    "exaone4": of("Exaone4Config", **SMALL),
    "gemma": of("GemmaConfig", **SMALL, **HEADS),
    "gemma4_text": of("Gemma4TextConfig", **SMALL, **HEADS),
    "glm4": of("Glm4Config", **SMALL, **HEADS),
    "gpt_bigcode": of("GPTBigCodeConfig", **GPT),
    "gptj": of("GPTJConfig", **GPT, rotary_dim=4),
    "granite": of("GraniteConfig", **SMALL),
    "helium": of("HeliumConfig", **SMALL, head_dim=4),
    "hunyuan_v1_dense": of("HunYuanDenseV1Config", **SMALL, **HEADS),
    "ministral": of("MinistralConfig", **SMALL, **HEADS),
    "mpt": of("MptConfig", vocab_size=VOCAB, d_model=16, n_layers=NUM_BLOCKS, n_heads=4, max_seq_len=64),
    "nanochat": of("NanoChatConfig", **SMALL),
    "nemotron": of("NemotronConfig", **SMALL),
    "olmo": of("OlmoConfig", **SMALL),
    "olmo3": of("Olmo3Config", **SMALL),
    "persimmon": of("PersimmonConfig", **UNGROUPED),
    "seed_oss": of("SeedOssConfig", **SMALL, **HEADS),
    "smollm3": of("SmolLM3Config", **SMALL),
    "starcoder2": of("Starcoder2Config", **SMALL),
    "vaultgemma": of("VaultGemmaConfig", **SMALL, **HEADS),
}
"""Type -> a configuration of a decoder with attention and an MLP in each block."""
