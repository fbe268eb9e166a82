"""Attention of single new tokens on a CPU in 16 bits, where PyTorch's kernel converts all keys and values for each of them.

Measured on SmolLM2's shapes in bfloat16 (32 texts, 1,024 tokens, one thread): 32 to 68 ms a block, 2.5 ms by these products.

Shapes: B texts, Q heads, K heads of the keys, G heads that share a key (Q = K x G), S tokens so far, D of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prune.lazy import torch
from prune.models.attention_functions import replaced_attention

if TYPE_CHECKING:
    from torch import Tensor, nn

_ELSEWHERE = ("position_bias", "cache", "softcap", "s_aux")
"""Arguments of an attention function that the products here know nothing of."""


@contextmanager
def quick_decoding(model: nn.Module) -> Iterator[None]:
    """Meanwhile a model that lies on a CPU in 16 bits attends from single tokens by `attend_once`; others are as before."""
    first = next(model.parameters())
    if first.device.type != "cpu" or first.dtype not in (torch.bfloat16, torch.float16):
        yield
        return
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **how: Any
    ) -> Any:
        is_plain = query.shape[2] == 1 and not how.get("dropout") and all(how.get(name) is None for name in _ELSEWHERE)
        if not is_plain:
            return sdpa(module, query, key, value, attention_mask, **how)
        return attend_once(query, key, value, attention_mask, how.get("scaling")).transpose(1, 2), None

    with replaced_attention({"sdpa": attend}):
        yield


def attend_once(
    query_BQ1D: Tensor, key_BKSD: Tensor, value_BKSD: Tensor, mask: Tensor | None, scaling: float | None
) -> Tensor:
    """What one token of each text takes from all tokens so far, (B, Q, 1, D), as scaled_dot_product_attention has it.

    Args:
        mask: (B or 1, Q or 1, 1, S); of bool: which tokens are seen, else what is added to the logits.
        scaling: of the logits; None: one over the root of D.
    """
    num_texts, num_heads, _, width = query_BQ1D.shape
    num_keys = key_BKSD.shape[1]
    query_BKGD = query_BQ1D.reshape(num_texts, num_keys, num_heads // num_keys, width)
    logits_BKGS = (query_BKGD @ key_BKSD.transpose(2, 3)).float() * (width**-0.5 if scaling is None else scaling)
    if mask is not None:
        mask_BKGS = mask.expand(-1, num_heads, -1, -1).reshape(len(mask), *logits_BKGS.shape[1:3], -1)
        hidden = mask_BKGS.logical_not() if mask.dtype == torch.bool else None
        logits_BKGS = logits_BKGS + mask_BKGS if hidden is None else logits_BKGS.masked_fill(hidden, -torch.inf)
    taken_BKGD = logits_BKGS.softmax(dim=-1).to(value_BKSD.dtype) @ value_BKSD
    return taken_BKGD.reshape(num_texts, num_heads, 1, value_BKSD.shape[3])
