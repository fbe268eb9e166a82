"""Attention of single new tokens in 16 bits on a CPU: what PyTorch's own attention says, and only where it is meant."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from prune.models import decoding
from prune.models.decoding import attend_once, quick_decoding

TEXTS, SO_FAR, WIDTH = 3, 37, 16


def seen(*shape: int) -> Tensor:
    """A mask of which the last token is always seen."""
    mask = torch.rand(*shape) < 0.6
    mask[..., -1] = True
    return mask


@pytest.mark.parametrize("heads", [(4, 4), (9, 3), (8, 1)], ids=str)
@pytest.mark.parametrize("scaling", [None, 0.7])
@pytest.mark.parametrize("kind", ["none", "all heads", "each head", "one text", "added"])
def test_a_token_takes_what_pytorch_gives_it(heads: tuple[int, int], scaling: float | None, kind: str) -> None:
    torch.manual_seed(0)
    num_heads, num_keys = heads
    query = torch.randn(TEXTS, num_heads, 1, WIDTH, dtype=torch.float64)
    key, value = (torch.randn(TEXTS, num_keys, SO_FAR, WIDTH, dtype=torch.float64) for _ in range(2))
    mask = {
        "none": None,
        "all heads": seen(TEXTS, 1, 1, SO_FAR),
        "each head": seen(TEXTS, num_heads, 1, SO_FAR),
        "one text": seen(1, 1, 1, SO_FAR),
        "added": torch.zeros(TEXTS, 1, 1, SO_FAR, dtype=torch.float64).masked_fill(~seen(TEXTS, 1, 1, SO_FAR), -1e30),
    }[kind]
    right = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True)
    ours = attend_once(query, key, value, mask, scaling)
    torch.testing.assert_close(ours, right, atol=1e-6, rtol=1e-6)  # the softmax is in float32
    rounded = attend_once(*(one.bfloat16() for one in (query, key, value)), mask, scaling)
    torch.testing.assert_close(rounded.double(), right, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_it_acts_on_16_bits_alone_and_for_single_tokens_alone(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)
    model = LlamaForCausalLM(config).to(dtype).eval()
    calls: list[int] = []

    def counted(query: Tensor, *rest: Tensor) -> Tensor:
        calls.append(query.shape[2])
        return attend_once(query, *rest)

    monkeypatch.setattr(decoding, "attend_once", counted)
    before, prompt = ALL_ATTENTION_FUNCTIONS["sdpa"], torch.tensor([[1, 2, 3, 4]])

    def grow() -> Tensor:
        scores = model.generate(prompt, max_new_tokens=5, do_sample=False, output_logits=True, return_dict_in_generate=True)
        return torch.stack(scores.logits).float()

    plain = grow()
    assert not calls
    with quick_decoding(model):
        quick = grow()
    assert calls == ([] if dtype == torch.float32 else [1] * 2 * 4), "two blocks, four tokens after the first"
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is before
    torch.testing.assert_close(quick, plain, atol=0.02, rtol=0.02)
