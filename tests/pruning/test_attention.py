"""The attention that tokens receive, against plain loops over heads and queries and against transformers' own softmax."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GptOssConfig, Lfm2Config, MambaConfig, PretrainedConfig, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import prune.pruning.attention
from prune.calib.calibration_set import CalibrationSet
from prune.errors import UserError
from prune.models.blocks import find_blocks, weights_sha256
from prune.pruning.attention import column_sums, watch_attention
from prune.pruning.layerwise import prune_model
from prune.pruning.methods.wanda import Wanda
from prune.pruning.sparsity import Unstructured
from prune.pruning.weighted_set import weighted
from prune.pruning.weights.attention import Attention
from tests.architectures import CONFIGS, EAGER_ONLY, calibration, calibration_set, tiny_model

UNSEEN = {"falcon_7b", "falcon_40b", "falcon_rw"}
PADDINGS = ["none", "left", "right"]
SCALES = {"gemma2": 8**-0.5, "gemma3": 256**-0.5}
"""Of queries times keys, where it is not the root of the head's width."""


def gpt_oss() -> PretrainedConfig:
    """A sink for each head, and sliding windows in turn; a mixture of experts, whose attention is as any other."""
    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 2, "num_experts_per_tok": 1}
    rope = {"rope_type": "default", "rope_theta": 1e4}
    return GptOssConfig(**sizes, **heads, sliding_window=4, max_position_embeddings=64, rope_parameters=rope)


def build(architecture: str) -> PreTrainedModel:
    if architecture == "gpt_oss":
        return tiny_model(gpt_oss())
    config = CONFIGS[architecture]()
    if architecture == "gemma2":
        config.attn_logit_softcapping = 0.7
    return tiny_model(config)


def tokens_and_real(padding: str) -> tuple[Tensor, Tensor]:
    tokens_BL, real_BL = calibration(padded=padding != "none")
    return (tokens_BL.flip(1), real_BL.flip(1)) if padding == "right" else (tokens_BL, real_BL)


def received(model: PreTrainedModel, tokens_BL: Tensor, real_BL: Tensor) -> list[Tensor]:
    """What tokens received up to each block, itself included; the naive sums are compared as sums, too."""
    found: list[Tensor] = []
    with torch.no_grad(), watch_attention(real_BL) as seen:

        def look(module: nn.Module, args: Any, output: Any) -> None:
            assert seen.total_BL is not None
            found.append(seen.total_BL.clone())

        handles = [block.register_forward_hook(look) for block in find_blocks(model)]
        model.base_model(input_ids=tokens_BL, attention_mask=real_BL.long(), use_cache=False)
    for handle in handles:
        handle.remove()
    return found


def turned(x_LD: Tensor, cos_LD: Tensor, sin_LD: Tensor) -> Tensor:
    """Rotary positions, in the form that turns the two halves against each other."""
    half = x_LD.shape[-1] // 2
    return x_LD * cos_LD + torch.cat([-x_LD[:, half:], x_LD[:, :half]], dim=-1) * sin_LD


def naive(module: nn.Module, architecture: str, hidden_LH: Tensor, tables: tuple[Tensor, Tensor], real_L: Tensor) -> Tensor:
    """Head by head, query by query, in float64."""
    length, width, total_L = len(hidden_LH), module.head_dim, torch.zeros(len(hidden_LH), dtype=torch.float64)
    cos_LD, sin_LD = (torch.cat([each] * (width // each.shape[-1]), dim=-1).double() for each in tables)
    query, key = (proj(hidden_LH).reshape(length, -1, width) for proj in (module.q_proj, module.k_proj))
    if hasattr(module, "q_norm"):
        query, key = module.q_norm(query), module.k_norm(key)
    num_heads, per_key = query.shape[1], query.shape[1] // key.shape[1]
    window = 6 if architecture == "mistral" else getattr(module, "sliding_window", None)
    for head in range(num_heads):
        query_LD = turned(query[:, head].double(), cos_LD, sin_LD)
        key_LD = turned(key[:, head // per_key].double(), cos_LD, sin_LD)
        for place in range(length):
            first = 0 if window is None else max(0, place - window + 1)
            seen = [t for t in range(first, place + 1) if real_L[t]]
            if not real_L[place]:
                continue
            logits = key_LD[seen] @ query_LD[place] * SCALES.get(architecture, width**-0.5)
            if architecture == "gemma2":
                logits = 0.7 * torch.tanh(logits / 0.7)
            sink = math.exp(module.sinks[head]) if architecture == "gpt_oss" else 0.0
            total_L[seen] += logits.exp() / (logits.exp().sum() + sink)
    return total_L


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen3", "gemma2", "gemma3", "gpt_oss"])
def test_it_is_the_sum_of_the_softmax_over_heads_and_real_queries(architecture: str, padding: str) -> None:
    """Grouped queries, sliding windows, a soft cap, sinks."""
    model, (tokens_BL, real_BL) = build(architecture), tokens_and_real(padding)
    calls: list[tuple[Tensor, tuple[Tensor, Tensor]]] = []
    modules = [block.self_attn for block in find_blocks(model)]
    hook = lambda module, args, kwargs: calls.append((kwargs["hidden_states"], kwargs["position_embeddings"]))  # noqa: E731
    handles = [module.register_forward_pre_hook(hook, with_kwargs=True) for module in modules]
    found = received(model, tokens_BL, real_BL)
    for handle in handles:
        handle.remove()
    expected_BL = torch.zeros(real_BL.shape, dtype=torch.float64)
    for module, (hidden_BLH, tables), found_BL in zip(modules, calls, found, strict=True):
        for number, real_L in enumerate(real_BL):
            own = tuple(each[number if len(each) > 1 else 0] for each in tables)
            with torch.no_grad():
                expected_BL[number] += naive(module, architecture, hidden_BLH[number], own, real_L)
        torch.testing.assert_close(found_BL[real_BL].double(), expected_BL[real_BL], rtol=2e-5, atol=2e-5)
    if architecture != "gpt_oss":
        num_queries = 4 * len(modules) * real_BL.sum(dim=1)
        torch.testing.assert_close((found[-1] * real_BL).sum(dim=1), num_queries.float())


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("architecture", sorted(CONFIGS.keys() - UNSEEN))
def test_sdpa_and_eager_show_the_softmax_that_transformers_returns(architecture: str, padding: str) -> None:
    tokens_BL, real_BL = tokens_and_real(padding)
    model = tiny_model(CONFIGS[architecture]())
    of_sdpa = None if architecture in EAGER_ONLY else received(model, tokens_BL, real_BL)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        answer = model(input_ids=tokens_BL, attention_mask=real_BL.long(), output_attentions=True, use_cache=False)
    sums = [(softmax * real_BL[:, None, :, None]).sum(dim=(1, 2)) for softmax in answer.attentions]
    for found in (received(model, tokens_BL, real_BL), *([of_sdpa] if of_sdpa else [])):
        for number, found_BL in enumerate(found):
            expected_BL = torch.stack(sums[: number + 1]).sum(dim=0)
            torch.testing.assert_close(found_BL[real_BL], expected_BL[real_BL], rtol=1e-4, atol=1e-5)


def test_equal_keys_share_each_query_alike() -> None:
    model, (tokens_BL, real_BL) = build("llama"), tokens_and_real("none")
    for block in find_blocks(model):
        block.self_attn.k_proj.weight.data.zero_()
    length = tokens_BL.shape[1]
    expected_L = torch.tensor([4 * sum(1 / q for q in range(t, length + 1)) for t in range(1, length + 1)])
    for number, found_BL in enumerate(received(model, tokens_BL, real_BL), start=1):
        torch.testing.assert_close(found_BL, number * expected_L.expand(found_BL.shape))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_looking_on_changes_no_bit_and_leaves_nothing_behind(attention: str, padding: str) -> None:
    model, (tokens_BL, real_BL) = build("llama"), tokens_and_real(padding)
    model.set_attn_implementation(attention)
    registered = dict(ALL_ATTENTION_FUNCTIONS)
    with torch.no_grad():
        alone = model.base_model(input_ids=tokens_BL, attention_mask=real_BL.long())[0]
        with watch_attention(real_BL):
            watched = model.base_model(input_ids=tokens_BL, attention_mask=real_BL.long())[0]
        with pytest.raises(RuntimeError, match="stop"), watch_attention(real_BL):
            raise RuntimeError("stop")
    assert torch.equal(alone[real_BL], watched[real_BL])
    assert dict(ALL_ATTENTION_FUNCTIONS) == registered


def test_what_another_registered_attends_and_comes_back() -> None:
    sdpa, calls = ALL_ATTENTION_FUNCTIONS["sdpa"], []

    def another(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return sdpa(*args, **kwargs)

    ALL_ATTENTION_FUNCTIONS["sdpa"] = another
    try:
        received(build("llama"), *tokens_and_real("none"))
        assert len(calls) == 3 and ALL_ATTENTION_FUNCTIONS["sdpa"] is another
    finally:
        del ALL_ATTENTION_FUNCTIONS["sdpa"]


@pytest.mark.parametrize("at_once", [1, 100, 2**22])
@pytest.mark.parametrize("kind", ["causal", "all", "seen", "added", "biased", "of each head"])
def test_masks_biases_and_chunks(kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune.pruning.attention, "LOGITS_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(heads, 9, 5, generator=generator, dtype=torch.float64) for heads in (6, 2))
    bias = torch.randn(6, 9, 9, generator=generator, dtype=torch.float64)
    seen = (torch.rand(6, 9, 9, generator=generator) < 0.5) | torch.eye(9, dtype=torch.bool)
    seen = seen if kind == "of each head" else seen[:1]
    causal = torch.ones(9, 9, dtype=torch.bool).tril()
    real_L = torch.tensor([True] * 6 + [False] * 3)
    mask = {
        "seen": seen,
        "of each head": seen,
        "added": torch.zeros(seen.shape).double().masked_fill(~seen, -torch.inf),
    }.get(kind)
    found_L = column_sums(query, key, real_L, 0.3, mask, bias if kind == "biased" else None, kind in ("causal", "biased"))
    logits = query @ key.repeat_interleave(3, dim=0).transpose(1, 2) * 0.3 + (bias if kind == "biased" else 0)
    allowed = {"causal": causal, "biased": causal, "all": torch.ones_like(causal)}.get(kind, seen)
    expected = logits.masked_fill(~allowed, -torch.inf).softmax(dim=-1)[:, real_L].sum(dim=(0, 1))
    assert found_L.dtype == torch.float64
    torch.testing.assert_close(found_L, expected)


HIDDEN: dict[str, PretrainedConfig] = {name: CONFIGS[name]() for name in sorted(UNSEEN)} | {
    "mamba": MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=4),
    "lfm2": Lfm2Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        layer_types=["full_attention", "conv"],
    ),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_blocks_whose_attention_is_not_seen_are_named_before_anything_is_pruned(name: str) -> None:
    model = tiny_model(HIDDEN[name])
    before = weights_sha256(model)
    block = 1 if name == "lfm2" else 0
    with pytest.raises(UserError, match=rf"no attention can be seen in block {block} .*weight=activation_norm"):
        prune_model(model, weighted(calibration_set(), Attention(0.005, 1)), Wanda(), Unstructured(0.5))
    assert weights_sha256(model) == before
    with torch.no_grad():
        prune_model(model, CalibrationSet.of_tokens(calibration()[0]), Wanda(), Unstructured(0.5))


def test_attention_among_other_tokens_is_refused() -> None:
    model, (tokens_BL, real_BL) = build("llama"), tokens_and_real("none")
    with pytest.raises(UserError, match="attends from 12 to 12 tokens in 5 sequences, where 5 of 11 are run"):
        received(model, tokens_BL, real_BL[:, 1:])
