"""Texts that a model writes: transformers' own generation, with a random generator for each text.

transformers draws all texts of a batch from one generator, so that a text would change with its neighbours. Here its
`generate` runs greedily, with the cache that an architecture has, on logits of which `TextSampler` has left one token.

Tensors: B texts, L tokens, V vocabulary, K tokens that are sampled from.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from prune.config.generated import GeneratedSetConfig
from prune.errors import UserError
from prune.lazy import torch
from prune.models.batching import within_memory
from prune.models.decoding import quick_decoding

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


STRIDE = 64
"""Tokens between two looks at which texts have ended: transformers goes on with those until the last of a batch ends."""


@dataclass
class TextSampler:
    """A logits processor that draws the next token of each text: 0 for it, minus infinity for all others."""

    generators: Sequence[random.Random]
    """One for each text; it gives one number a token, whatever the other texts do."""
    knobs: GeneratedSetConfig
    on_step: Callable[[], None] = field(default=lambda: None)

    def __call__(self, tokens_BL: Tensor, logits_BV: Tensor) -> Tensor:
        """The logits with one finite entry a text.

        Raises:
            UserError: they are not numbers.
        """
        uniform_B = torch.tensor([generator.random() for generator in self.generators], device=logits_BV.device)
        chosen_B = sample(logits_BV, uniform_B, self.knobs)
        if not logits_BV.gather(1, chosen_B[:, None]).isfinite().all():
            raise UserError(
                "The dense model's logits are not numbers, so it cannot write text. Take another model.dtype, as in "
                "model.dtype=float32."
            )
        self.on_step()
        return torch.full_like(logits_BV, -torch.inf).scatter_(1, chosen_B[:, None], 0.0)


def sample(logits_BV: Tensor, uniform_B: Tensor, knobs: GeneratedSetConfig) -> Tensor:
    """(B,) int64, for each row the token that its number from [0, 1) falls on.

    Tokens stand in the order of their probability, the likeliest first. Of them the first `top_k` are looked at, and of
    these the first that together reach `top_p`, as transformers' warpers leave them; each takes a stretch of its share.
    """
    num_looked_at = min(knobs.top_k or logits_BV.shape[1], logits_BV.shape[1])
    top_BK, ids_BK = (logits_BV.float() / knobs.temperature).topk(num_looked_at)
    probability_BK = top_BK.softmax(dim=1)
    before_BK = probability_BK.cumsum(dim=1) - probability_BK
    ends_BK = probability_BK.masked_fill(before_BK >= knobs.top_p, 0.0).cumsum(dim=1)
    wanted_B1 = uniform_B[:, None].float() * ends_BK[:, -1:]
    place_B1 = torch.searchsorted(ends_BK, wanted_B1, right=True).clamp(max=num_looked_at - 1)
    return ids_BK.gather(1, place_B1)[:, 0]


def find_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end a text: the tokenizer's EOS, and those of the model's own settings."""
    own = getattr(model.generation_config, "eos_token_id", None)
    ends = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])}
    return sorted(end for end in ends if isinstance(end, int))


def write_texts(
    model: PreTrainedModel,
    prefixes: Sequence[Sequence[int]],
    names: Sequence[str],
    ends: Collection[int],
    knobs: GeneratedSetConfig,
    max_new_tokens: int,
    on_step: Callable[[], None],
) -> list[list[int]]:
    """What the model writes after each prefix, up to the token that ends it, which is left out.

    The prefixes have one length, so that nothing is padded. A batch that memory has no room for is halved.

    Args:
        names: what the random generator of each text is seeded with.
        on_step: called after each token of a batch.

    Raises:
        UserError: no text fits in memory, or logits are not numbers.
    """
    written: list[list[int]] = []

    def attempt(batch_size: int) -> None:
        while len(written) < len(prefixes):
            part = slice(len(written), len(written) + batch_size)
            sampler = TextSampler([random.Random(name) for name in names[part]], knobs, on_step)
            written.extend(_write(model, prefixes[part], sampler, ends, max_new_tokens))

    with quick_decoding(model):
        within_memory(attempt, len(prefixes), "calib=generated", "text")
    return written


def _write(
    model: PreTrainedModel, prefixes: Sequence[Sequence[int]], sampler: TextSampler, ends: Collection[int], most: int
) -> list[list[int]]:
    """What follows each prefix; texts that have ended leave the batch every STRIDE tokens."""
    texts, growing, cache = [list(prefix) for prefix in prefixes], list(range(len(prefixes))), None
    num_written, ends_in = 0, set(ends)
    while growing and num_written < most:
        generators = [sampler.generators[place] for place in growing]
        stride = min(STRIDE, most - num_written)
        of_growing = replace(sampler, generators=generators)
        grown, cache = _go_on(model, [texts[place] for place in growing], cache, of_growing, ends, stride)
        for place, text in zip(growing, grown, strict=True):
            texts[place] = text
        num_written += stride
        kept = [row for row, text in enumerate(grown) if ends_in.isdisjoint(text[-stride:])]
        growing, cache = [growing[row] for row in kept], _of_rows(cache, kept)
    return [_up_to_end(text[len(prefix) :], ends) for text, prefix in zip(texts, prefixes, strict=True)]


def _go_on(
    model: PreTrainedModel,
    texts: Sequence[Sequence[int]],
    cache: Any,
    sampler: TextSampler,
    ends: Collection[int],
    most: int,
) -> tuple[list[list[int]], Any]:
    """(texts of one length with up to `most` more tokens, the cache of what the model has seen of them)."""
    from transformers import GenerationConfig, LogitsProcessorList, RepetitionPenaltyLogitsProcessor

    penalty = sampler.knobs.repetition_penalty
    processors: list[Any] = [RepetitionPenaltyLogitsProcessor(float(penalty))] if penalty != 1 else []
    tokens_BL = torch.tensor(texts, device=model.device)
    own = model.generation_config
    # Whatever the model's own settings are: penalties, forced tokens, another way to sample.
    model.generation_config = GenerationConfig(pad_token_id=0, eos_token_id=list(ends) or None)
    try:
        grown: Any = model.generate(
            input_ids=tokens_BL,
            attention_mask=torch.ones_like(tokens_BL),
            max_new_tokens=most,
            do_sample=False,
            past_key_values=cache,
            return_dict_in_generate=True,
            logits_processor=LogitsProcessorList([*processors, sampler]),
        )
    finally:
        model.generation_config = own
    return grown.sequences.tolist(), grown.get("past_key_values")


def _of_rows(cache: Any, rows: Sequence[int]) -> Any:
    """The cache of some texts alone; None where its kind cannot be divided, so that they are read again."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    if type(cache) is not DynamicCache or not all(isinstance(layer, DynamicLayer) for layer in cache.layers):
        return None
    if rows:
        cache.batch_select_indices(torch.tensor(rows))
    return cache


def _up_to_end(tokens: list[int], ends: Collection[int]) -> list[int]:
    stop = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[:stop]
