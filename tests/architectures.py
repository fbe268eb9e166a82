"""Tiny random models of the architectures that the walk must be right for."""

from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    StableLmConfig,
)

from prune.calib.calibration_set import CalibrationSet

VOCAB = 64
NUM_BLOCKS = 3
WINDOW = 64

_IDS = {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_LLAMA = _IDS | {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": NUM_BLOCKS,
    "num_attention_heads": 4,
    "max_position_embeddings": WINDOW,
}
_GROUPED = _LLAMA | {"num_key_value_heads": 2}


def _llama3() -> PretrainedConfig:
    """Llama 3.1: rotary frequencies stretched beyond the length it was trained on first."""
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    return LlamaConfig(**_GROUPED, rope_parameters=rope | {"original_max_position_embeddings": 16})


def _gemma2() -> PretrainedConfig:
    """Sliding and full attention in turn, logits of the attention capped."""
    return Gemma2Config(**_GROUPED, head_dim=8, sliding_window=4, query_pre_attn_scalar=8)


def _gemma3() -> PretrainedConfig:
    layer_types = ["sliding_attention", "full_attention", "sliding_attention"]
    return Gemma3TextConfig(**_GROUPED, head_dim=8, sliding_window=4, layer_types=layer_types)


def _opt(**options: object) -> PretrainedConfig:
    width = {"hidden_size": 16, "ffn_dim": 32, "num_attention_heads": 4, "word_embed_proj_dim": 16}
    return OPTConfig(**_IDS, **width | options, num_hidden_layers=NUM_BLOCKS, max_position_embeddings=WINDOW)


def _falcon(**options: object) -> PretrainedConfig:
    width = {"hidden_size": 16, "num_attention_heads": 4}
    return FalconConfig(**_IDS, **width | options, num_hidden_layers=NUM_BLOCKS, max_position_embeddings=WINDOW)


CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_GROUPED),
    "llama2": lambda: LlamaConfig(**_LLAMA),
    "llama3": _llama3,
    "mistral": lambda: MistralConfig(**_GROUPED, sliding_window=6),
    "qwen2": lambda: Qwen2Config(**_GROUPED),
    "qwen3": lambda: Qwen3Config(**_GROUPED, head_dim=8),
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "opt": _opt,
    "opt_350m": lambda: _opt(word_embed_proj_dim=8, do_layer_norm_before=False),
    "gpt2": lambda: GPT2Config(**_IDS, n_embd=16, n_layer=NUM_BLOCKS, n_head=4, n_positions=WINDOW),
    "gpt_neox": lambda: GPTNeoXConfig(**_LLAMA, use_parallel_residual=False),
    "pythia": lambda: GPTNeoXConfig(**_LLAMA),
    "phi": lambda: PhiConfig(**_LLAMA),
    "phi3": lambda: Phi3Config(**_GROUPED),
    "falcon_7b": _falcon,
    "falcon_40b": lambda: _falcon(num_kv_heads=2, new_decoder_architecture=True),
    "falcon_rw": lambda: _falcon(alibi=True, multi_query=False, parallel_attn=False, bias=True),
    "olmo2": lambda: Olmo2Config(**_GROUPED),
    "stablelm": lambda: StableLmConfig(**_GROUPED),
}
"""By model type; a number or size names the release that looks like this."""

EAGER_ONLY = {"gemma2"}
"""Those that transformers runs with its own attention only."""

FINAL_NORMS = dict.fromkeys(CONFIGS, "model.norm") | {
    "opt": "model.decoder.final_layer_norm",
    "opt_350m": "model.decoder.project_out",
    "gpt2": "transformer.ln_f",
    "gpt_neox": "gpt_neox.final_layer_norm",
    "pythia": "gpt_neox.final_layer_norm",
    "phi": "model.final_layernorm",
    "falcon_7b": "transformer.ln_f",
    "falcon_40b": "transformer.ln_f",
    "falcon_rw": "transformer.ln_f",
}
"""Where the hidden states of the last block go in."""


def tiny_model(config: PretrainedConfig, seed: int = 0) -> PreTrainedModel:
    """A random model in float32, with weights and biases large enough that every part of a block matters."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def save_tokenizer(folder: Path) -> None:
    """A word for each token of the vocabulary: `w5` is 5."""
    words = {"<pad>": 0, "<s>": 1, "</s>": 2} | {f"w{number}": number for number in range(3, VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="</s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)


def calibration_set(num_samples: int = 5, seq_len: int = 12, padded: bool = False) -> CalibrationSet:
    """`calibration` as a set in which every real token counts 1."""
    return CalibrationSet.of_tokens(*calibration(num_samples, seq_len, padded))


def calibration(num_samples: int = 5, seq_len: int = 12, padded: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Random tokens (never the pad id) and their mask; padded: on the left, each sample more than the one before."""
    generator = torch.Generator().manual_seed(7)
    tokens_NL = torch.randint(3, VOCAB, (num_samples, seq_len), generator=generator)
    mask_NL = torch.ones(num_samples, seq_len, dtype=torch.bool)
    if padded:
        for sample in range(num_samples):
            mask_NL[sample, : 2 * sample] = False
        tokens_NL[~mask_NL] = 0
    return tokens_NL, mask_NL
