"""The attention that each token of a batch receives in the blocks that run, seen without a change of what they compute.

A model asks transformers' ALL_ATTENTION_FUNCTIONS for the function that attends. Meanwhile it gets one of ours, which calls
the right one and looks on: sdpa keeps no softmax, so the sums of its columns are computed beside it, some queries at a time;
a model's own (eager) attention returns it, with whatever caps and sinks the model has.

Shapes: B sequences, L tokens, Q heads, K heads of the keys, D of a head, C queries at a time.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prune.errors import UserError
from prune.models.attention_functions import replaced_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel


LOGITS_AT_ONCE = 2**22
"""Of one sequence; changes memory and speed only."""


class ReceivedAttention:
    """What the tokens of a batch received in all calls so far."""

    def __init__(self, real_BL: Tensor) -> None:
        self.real_BL = real_BL
        self.total_BL: Tensor | None = None
        """Softmax, summed over heads and real queries, in float32; None before the first call."""
        self.modules: set[nn.Module] = set()
        """Those that called."""

    def add(self, module: nn.Module, found: Sequence[Tensor]) -> None:
        """Take in what the tokens of each sequence received in one call."""
        found_BL = torch.stack(list(found))
        self.total_BL = found_BL if self.total_BL is None else self.total_BL + found_BL
        self.modules.add(module)

    def real_of(self, module: nn.Module, shape: torch.Size) -> Tensor:
        """`real_BL` for queries and keys of this shape, B x heads x queries x keys.

        Raises:
            UserError: the call is not one of the batch's tokens among each other.
        """
        num_samples, length = self.real_BL.shape
        if shape[0] != num_samples or tuple(shape[2:]) != (length, length):
            raise UserError(
                f"{type(module).__name__} attends from {shape[2]} to {shape[3]} tokens in {shape[0]} sequences, where "
                f"{num_samples} of {length} are run; what a token receives is not known. {ADVICE}"
            )
        return self.real_BL


ADVICE = "Choose a weight that needs no attention, such as weight=activation_norm."


@contextmanager
def watch_attention(real_BL: Tensor) -> Iterator[ReceivedAttention]:
    """Look on while the blocks run a batch with these real tokens."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    received, right = ReceivedAttention(real_BL), ALL_ATTENTION_FUNCTIONS
    ours = {"sdpa": _watched_sdpa(received, right["sdpa"]), "eager": _watched_eager(received, right.get("eager"))}
    with replaced_attention(ours):
        yield received


@contextmanager
def check_seen(model: "PreTrainedModel", blocks: Sequence[nn.Module], tokens_BL: Tensor) -> Iterator[None]:
    """Look on while the model runs these tokens.

    Raises:
        UserError: at the end, when the attention of a block was not seen.
    """
    with watch_attention(torch.ones_like(tokens_BL, dtype=torch.bool)) as received:
        yield
    for index, block in enumerate(blocks):
        if received.modules.isdisjoint(block.modules()):
            raise UserError(
                f"{type(model).__name__}: no attention can be seen in block {index} ({type(block).__name__}): it has none, "
                f"or computes it outside transformers' ALL_ATTENTION_FUNCTIONS. {ADVICE}"
            )


def _watched_sdpa(received: ReceivedAttention, sdpa: Callable[..., Any]) -> Callable[..., Any]:
    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **how: Any
    ) -> Any:
        real_BL = received.real_of(module, torch.Size((*query.shape[:3], key.shape[2])))
        scaling = how.get("scaling")
        bias = attention_mask, how.get("position_bias"), _is_causal(module, how.get("is_causal"))
        found = [
            column_sums(query[number], key[number], real_L, scaling, *_of_sample(number, *bias))
            for number, real_L in enumerate(real_BL.to(query.device))
        ]
        received.add(module, found)
        return sdpa(module, query, key, value, attention_mask, **how)

    return attend


def _is_causal(module: nn.Module, asked: bool | None) -> bool:
    return bool(getattr(module, "is_causal", True)) if asked is None else asked


def _of_sample(
    number: int, mask: Tensor | None, bias: Tensor | None, is_causal: bool
) -> tuple[Tensor | None, Tensor | None, bool]:
    """Mask and bias of one sequence; both may be the same for all."""
    own = [each if each is None else each[number if len(each) > 1 else 0] for each in (mask, bias)]
    return own[0], own[1], is_causal and mask is None


def column_sums(
    query_QLD: Tensor,
    key_KLD: Tensor,
    real_L: Tensor,
    scaling: float | None,
    mask: Tensor | None,
    bias: Tensor | None,
    is_causal: bool,
) -> Tensor:
    """The softmax that each token receives in one sequence, summed over heads and real queries, L in float32 or wider.

    `mask` (True = seen, or added to the logits) and `bias` (added) are 1 or Q x L x L; `is_causal`, where there is no mask,
    masks what comes later.
    """
    num_heads, length, width = query_QLD.shape
    wide = torch.promote_types(query_QLD.dtype, torch.float32)
    key_KDL = key_KLD.to(wide).transpose(1, 2) * (width**-0.5 if scaling is None else scaling)
    total_L = torch.zeros(length, dtype=wide, device=query_QLD.device)
    places = torch.arange(length, device=query_QLD.device)
    for chunk_C in torch.split(places[real_L], max(1, LOGITS_AT_ONCE // (num_heads * length))):
        end = int(chunk_C[-1]) + 1 if is_causal else length
        query = query_QLD[:, chunk_C].to(wide).reshape(len(key_KDL), -1, width)
        logits_QCL = (query @ key_KDL[..., :end]).reshape(num_heads, -1, end)
        if bias is not None:
            logits_QCL = logits_QCL + bias[:, chunk_C, :end]
        if is_causal:
            logits_QCL.masked_fill_(places[:end] > chunk_C[:, None], -torch.inf)
        if mask is not None:
            seen = mask[:, chunk_C]
            logits_QCL = logits_QCL.masked_fill(~seen, -torch.inf) if seen.dtype == torch.bool else logits_QCL + seen
        total_L[:end] += logits_QCL.softmax(dim=-1).sum(dim=(0, 1))
    return total_L


def _watched_eager(received: ReceivedAttention, registered: Callable[..., Any] | None) -> Callable[..., Any]:
    def attend(module: nn.Module, query: Tensor, *args: Any, **how: Any) -> Any:
        answer = (registered or _own_attention(module))(module, query, *args, **how)
        softmax_BQLL = answer[1] if isinstance(answer, tuple) and len(answer) > 1 else None
        if not isinstance(softmax_BQLL, Tensor) or softmax_BQLL.dim() != 4:
            raise UserError(f"The attention of {type(module).__name__} does not return its softmax. {ADVICE}")
        real_BL = received.real_of(module, softmax_BQLL.shape).to(softmax_BQLL.device)
        wide = torch.promote_types(softmax_BQLL.dtype, torch.float32)
        found = [each[:, real_L].sum(dim=(0, 1), dtype=wide) for each, real_L in zip(softmax_BQLL, real_BL, strict=True)]
        received.add(module, found)
        return answer

    return attend


def _own_attention(module: nn.Module) -> Callable[..., Any]:
    """The attention that a model's file defines, which it takes where none is registered under "eager"."""
    for kind in type(module).__mro__:
        own = getattr(sys.modules.get(kind.__module__), "eager_attention_forward", None)
        if own is not None:
            found: Callable[..., Any] = own
            return found
    raise UserError(f"{type(module).__module__} defines no eager_attention_forward, which {type(module).__name__} needs.")
