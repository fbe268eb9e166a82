"""Tiny random mixtures of experts, by model type: every layout of experts that is pruned."""

from typing import Any

from transformers import CONFIG_MAPPING, PretrainedConfig

from tests.architectures import VOCAB

NUM_BLOCKS = 2
NUM_EXPERTS = 4

SMALL: dict[str, Any] = {
    **{"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 64},
    **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": NUM_BLOCKS, "num_attention_heads": 4},
    "num_key_value_heads": 2,
}
_LOCAL = {"num_local_experts": NUM_EXPERTS, "num_experts_per_tok": 2}
_NAMED = {"num_experts": NUM_EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
_GROUPS = {"n_group": 1, "topk_group": 1}
_SHARED = {
    **{"n_routed_experts": NUM_EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "n_shared_experts": 1},
    **_GROUPS,
}
_LATENT = {
    **{"kv_lora_rank": 8, "q_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 4},
    **{"num_key_value_heads": 4, "first_k_dense_replace": 1},
    **_SHARED,
}
_LINEAR = {
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4},
    **{"shared_expert_intermediate_size": 8, "layer_types": ["linear_attention", "full_attention"], "head_dim": 8},
}
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8}
_HEAD = {"head_dim": 8}
_TURNS = {"layer_types": ["sliding_attention", "full_attention"]}

SETTINGS: dict[str, dict[str, Any]] = {
    "mixtral": _LOCAL,
    "qwen2_moe": _NAMED | {"shared_expert_intermediate_size": 8},
    "qwen3_moe": _NAMED | _HEAD,
    "qwen3_next": _NAMED | _LINEAR,
    "qwen3_5_moe_text": _NAMED | _LINEAR,
    "olmoe": {"num_experts": NUM_EXPERTS, "num_experts_per_tok": 2},
    "flex_olmo": {"num_experts": NUM_EXPERTS, "num_experts_per_tok": 2},
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "glm4_moe": _SHARED | _HEAD | {"first_k_dense_replace": 1},
    "dots1": _SHARED | _HEAD | {"first_k_dense_replace": 1},
    "granitemoe": _LOCAL,
    "granitemoeshared": _LOCAL | {"shared_intermediate_size": 8},
    "granitemoehybrid": _LOCAL | _MAMBA | {"shared_intermediate_size": 8, "layer_types": ["mamba", "attention"]},
    "phimoe": _LOCAL,
    "ernie4_5_moe": {
        **{"moe_num_experts": NUM_EXPERTS, "moe_k": 2, "moe_intermediate_size": 8, "moe_num_shared_experts": 1},
        "moe_layer_start_index": 0,
    },
    "jamba": {
        **{"num_experts": NUM_EXPERTS, "num_experts_per_tok": 2, "attn_layer_period": 2, "attn_layer_offset": 1},
        **{"expert_layer_period": 2, "expert_layer_offset": 1, "mamba_d_state": 8},
    },
    "lfm2_moe": _NAMED | {"num_dense_layers": 1, "layer_types": ["conv", "full_attention"]},
    "minimax": _LOCAL | _HEAD | {"block_size": 4, "layer_types": ["linear_attention", "full_attention"]},
    "minimax_m2": _LOCAL | _HEAD,
    "hunyuan_v1_moe": _HEAD | {"num_experts": NUM_EXPERTS, "moe_topk": 2},
    "exaone_moe": _NAMED | _HEAD | _GROUPS | _TURNS | {"sliding_window": 4, "mlp_layer_types": ["dense", "sparse"]},
    "afmoe": _NAMED | _HEAD | _GROUPS | {"num_shared_experts": 1, "num_dense_layers": 1},
    "cohere2_moe": _NAMED | _HEAD,
    "solar_open": _SHARED | _HEAD,
    "gpt_oss": _LOCAL | _HEAD,
    "gemma4_text": {
        **(_NAMED | _HEAD | _TURNS),
        **{"enable_moe_block": True, "top_k_experts": 2, "global_head_dim": 8, "num_global_key_value_heads": 2},
        **{"hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0},
    },
    "nemotron_h": _SHARED | _HEAD | {"moe_shared_expert_intermediate_size": 8, "layers_block_type": ["moe", "attention"]},
    "aria_text": {"moe_num_experts": NUM_EXPERTS, "moe_topk": 2, "moe_num_shared_experts": 1},
}
"""Besides `SMALL`."""


def mixture(kind: str, **changes: Any) -> PretrainedConfig:
    """The configuration of a tiny mixture."""
    made: PretrainedConfig = CONFIG_MAPPING[kind](**SMALL | SETTINGS[kind] | changes)
    return made
