"""A model whose numbers break says in which of its parts they do so first."""

import math
from typing import Any

import pytest
import torch
from small_models import make_llama, make_tokenizer
from transformers import MambaConfig

from prune.config.eval import Bos
from prune.data.dataset import AnswerKind, Example
from prune.errors import UserError
from prune.eval.engine.diagnose import describe_broken, find_broken, list_parts
from prune.eval.engine.logits import BrokenLogitsError, choose_tokens, score_tokens
from prune.eval.metrics.choices import ChoiceSettings
from prune.eval.metrics.perplexity import PerplexitySettings, measure_perplexity
from prune.eval.questions.settings import Questions
from prune.eval.subject import Subject
from prune.models.blocks import find_blocks, find_linears
from tests.architectures import CONFIGS, NUM_BLOCKS, tiny_model

TOKENS = [3, 4, 5, 6]
HUGE = 1e37
"""Weights so many times as large are finite in float32, and what goes through two of them is not."""


def plant(model: Any, block: int, value: float) -> None:
    """Multiply the linears of a block by the value."""
    with torch.no_grad():
        for linear in find_linears(find_blocks(model)[block]).values():
            linear.weight.mul_(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, HUGE])
@pytest.mark.parametrize("block", range(NUM_BLOCKS))
@pytest.mark.parametrize("name", CONFIGS)
def test_the_block_in_which_it_was_planted_is_named(name: str, block: int, value: float) -> None:
    model = tiny_model(CONFIGS[name]())
    assert find_broken(model, TOKENS) is None
    plant(model, block, value)
    part = find_broken(model, TOKENS)
    assert part is not None and part.module is find_blocks(model)[block]
    assert part.name.startswith(f"block {block} of {NUM_BLOCKS} (") and part.name.endswith(f".{block})")
    told = describe_broken(model, TOKENS)
    assert told.startswith(f"the first output that is not finite is that of {part.name}. ")
    assert ("Its weights are finite: its activations overflow in float32." in told) == (value == HUGE)
    assert ("Its weights are not finite: they are broken, or overflow in float32." in told) == (value != HUGE)
    assert not any(module._forward_hooks for module in model.modules()), "nothing stays behind"


def test_embedding_norm_and_head_are_named_and_come_in_their_order() -> None:
    model = tiny_model(CONFIGS["llama"]())
    assert [part.name for part in list_parts(model) if "rotary" not in part.name] == [
        *("model.embed_tokens", "block 0 of 3 (model.layers.0)", "block 1 of 3 (model.layers.1)"),
        *("block 2 of 3 (model.layers.2)", "model.norm", "lm_head"),
    ]
    for module in (model.lm_head, model.model.norm, model.model.embed_tokens):
        torch.nn.init.constant_(module.weight, math.nan)
        part = find_broken(model, TOKENS)
        assert part is not None and part.module is module


def test_a_model_of_another_kind() -> None:
    model = tiny_model(MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=4))
    torch.nn.init.constant_(find_blocks(model)[1].mixer.out_proj.weight, math.nan)
    assert "that of block 1 of 2 (" in describe_broken(model, TOKENS)


def test_the_text_that_breaks_is_the_one_that_is_run_again() -> None:
    """One token's embedding is broken, so that one row of a batch is."""
    logits_BV = torch.tensor([[0.0, 1.0], [math.nan, 1.0], [2.0, math.nan]])
    with pytest.raises(BrokenLogitsError) as caught:
        choose_tokens(logits_BV, lambda row: [row, 7])
    assert caught.value.tokens == [1, 7]
    with pytest.raises(BrokenLogitsError):
        choose_tokens(torch.tensor([[math.inf, 1.0]]), lambda row: [row])
    assert choose_tokens(torch.tensor([[-math.inf, 1.0]]), lambda row: [row]) == [1]
    places = torch.tensor([0, 2]), torch.tensor([0, 0]), torch.tensor([1, 1])
    with pytest.raises(BrokenLogitsError) as caught:
        score_tokens(logits_BV[:, None], *places, lambda row: [row, 8])
    assert caught.value.tokens == [2, 8]


def test_a_message_where_no_block_can_be_named() -> None:
    model = tiny_model(CONFIGS["llama"]())
    told = describe_broken(model, TOKENS)
    assert "overflow in float32" in told and "no block can be named. method=dense tells" in told
    assert describe_broken(model.to(torch.float16), TOKENS).endswith("Try model.dtype=float32.")


def test_a_likelihood_and_a_perplexity_name_the_block() -> None:
    tokenizer = make_tokenizer("0123:AQ+ \n")
    model = make_llama(len(tokenizer))
    plant(model, 1, math.nan)
    asked = {"dataset": "rte", "split": "validation", "exemplar_split": "train", "num_fewshot": 0, "limit": None}
    settings = ChoiceSettings(**asked, bos=Bos.tokenizer)
    items = [Example(question=f"Q: {text}\nA:", answer="1", target="1", choices=("1", "20")) for text in ("0", "3", "1")]
    with pytest.raises(
        UserError, match=r"^acc_mc/rte: the model's logits are not numbers: .* block 1 of 2 \(model\.layers\.1\)"
    ):
        settings.score(Questions(settings, {}, items, AnswerKind.LABEL), Subject(model, tokenizer, 2))
    chunks = PerplexitySettings(
        dataset="c4", split="x", joiner=" ", num_texts=None, seq_len=8, bos=Bos.none, num_chunks=None, max_chunks=None
    )
    with pytest.raises(UserError, match=r"^ppl/c4: the model's loss is not a number \(chunk 0 .* block 1 of 2"):
        measure_perplexity(chunks, ["01230123 0123"], Subject(model, tokenizer, 2))
