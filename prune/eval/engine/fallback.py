"""Which models can keep a prefix, and the slower way for those that cannot: one prompt at a time.

Tensors: B rows, L tokens, V vocabulary.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers.cache_utils import DummyLayer, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from prune.eval.engine.logits import Likelihood, Tokens, choose_tokens, score_tokens
from prune.eval.engine.prefix import call_model, run_prefix, start_rows


def reuses_prefix(model: Any, prompt: Tokens) -> bool:
    """Whether the model's answers with a kept prefix and padded rows are those without: tried on a few tokens.

    State-space models, encoder-decoders and others whose cache is more than keys and values are not tried.
    """
    parameters = inspect.signature(model.forward).parameters
    plain = {DynamicLayer, DynamicSlidingWindowLayer, DummyLayer}
    if (
        not {"past_key_values", "attention_mask", "use_cache"} <= set(parameters)
        or getattr(model, "_is_stateful", False)
        or model.config.is_encoder_decoder
        or not {type(layer) for layer in DynamicCache(config=model.config).layers} <= plain
    ):
        return False
    ids = (list(prompt) * 12)[:12]
    long, short, last = ids[:11], ids[:3] + ids[6:11], ids[11]
    rows, _ = start_rows(model, run_prefix(model, tuple(ids[:3])), [long, short], room=1)
    last_BL = torch.full((2, 1), last, device=model.device)
    tried_V = rows.feed(last_BL, torch.ones_like(last_BL, dtype=torch.bool))[1, -1].float()
    whole_1L = torch.tensor([[*short, last]], device=model.device)
    right_V = call_model(model, 1, input_ids=whole_1L, use_cache=False)[0, -1].float()
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
    far = (tried_V - right_V).abs().max() > tolerance * (right_V.max() - right_V.min())
    return not bool(far)  # NaN is never far; whoever reads the logits reports it


def generate_alone(model: Any, prompt: Tokens, num_new: int, is_complete: Callable[[list[int]], bool]) -> list[int]:
    """The greedy answer to one prompt, by the model's own generation with whatever it has for a cache.

    Raises:
        BrokenLogitsError: the model's logits are not numbers.
    """

    def stop(tokens_BL: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return torch.tensor([is_complete(tokens_BL[0, len(prompt) :].tolist())], device=tokens_BL.device)

    def check(tokens_BL: Tensor, logits_BV: Tensor) -> Tensor:
        choose_tokens(logits_BV, lambda row: tokens_BL[row].tolist())
        return logits_BV

    prompt_BL = torch.tensor([list(prompt)], device=model.device)
    own = model.generation_config
    # Plain greedy decoding, whatever the model's own settings are (penalties, forced tokens).
    model.generation_config = transformers.GenerationConfig(pad_token_id=0)
    try:
        tokens_BL: Tensor = model.generate(
            input_ids=prompt_BL,
            attention_mask=torch.ones_like(prompt_BL),
            max_new_tokens=num_new,
            do_sample=False,
            stopping_criteria=[stop],
            logits_processor=[check],
        )
    finally:
        model.generation_config = own
    return tokens_BL[0, len(prompt) :].tolist()


def likelihood_alone(model: Any, context: Tokens, choice: Tokens) -> Likelihood:
    """The likelihood of a choice by one pass over context and choice, without any cache.

    Raises:
        BrokenLogitsError: the model's logits are not numbers.
    """
    whole = [*context, *choice[:-1]]
    whole_BL = torch.tensor([whole], device=model.device)
    with torch.inference_mode():
        logits_BLV = call_model(model, len(choice), input_ids=whole_BL)
    slots, tokens = torch.arange(len(choice), device=model.device), torch.tensor(list(choice), device=model.device)
    logprobs, greedy = score_tokens(logits_BLV, torch.zeros_like(slots), slots, tokens, lambda row: whole)
    return Likelihood(sum(logprobs), all(greedy))
