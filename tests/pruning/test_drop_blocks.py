"""Whole blocks dropped: what the searches find, what is left, and that plain transformers loads it."""

import itertools
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    DiffLlamaConfig,
    Gemma3TextConfig,
    GPTNeoConfig,
    LlamaConfig,
    PreTrainedModel,
)

from prune.calib.calibration_set import CalibrationSet
from prune.config.drop import BlocksConfig, Search
from prune.errors import UserError
from prune.models.blocks import find_blocks
from prune.pruning.block_search import Blocks, Memory, evolution, repaired
from prune.pruning.drop_blocks import check_loss, choose_blocks, report_blocks
from prune.pruning.skipping import SkippedLosses
from prune.pruning.smaller import Droppable, without_blocks
from tests.architectures import CONFIGS, VOCAB, calibration, tiny_model

NUM_BLOCKS = 8
PADDED = calibration(num_samples=4, seq_len=10, padded=True)
WIDTH = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


def llama(seed: int = 0) -> PreTrainedModel:
    return tiny_model(LlamaConfig(**WIDTH, num_hidden_layers=NUM_BLOCKS), seed)


def padded_set() -> CalibrationSet:
    return CalibrationSet.of_tokens(*PADDED)


def naive_loss(model: PreTrainedModel, tokens_NL: Tensor, real_NL: Tensor) -> float:
    """Mean over all predicted real tokens, each sequence alone, by the logits of the whole model."""
    total, number = 0.0, 0
    for tokens_L, real_L in zip(tokens_NL, real_NL, strict=True):
        ids_L = tokens_L[real_L]
        with torch.no_grad():
            log_probs_LV = model(ids_L[None]).logits[0].double().log_softmax(dim=-1)
        total -= float(log_probs_LV[:-1].gather(1, ids_L[1:, None]).sum())
        number += len(ids_L) - 1
    return total / number


def by_hand(model: PreTrainedModel, dropped: Collection[int]) -> PreTrainedModel:
    """A fresh model of fewer blocks, with the weights of the others copied by their names."""
    kept = [index for index in range(NUM_BLOCKS) if index not in dropped]
    fresh = AutoModelForCausalLM.from_config(LlamaConfig(**WIDTH, num_hidden_layers=len(kept))).eval()
    state = {name: value for name, value in model.state_dict().items() if ".layers." not in name}
    for place, index in enumerate(kept):
        of_block = find_blocks(model)[index].state_dict().items()
        state |= {f"model.layers.{place}.{name}": value for name, value in of_block}
    fresh.load_state_dict(state)
    loaded: PreTrainedModel = fresh
    return loaded


def naive_greedy(model: PreTrainedModel, num: int) -> tuple[list[int], list[float]]:
    """SLEB by its description: neither the first nor the last block, always a whole model built by hand."""
    dropped: list[int] = []
    losses: list[float] = []
    for _ in range(num):
        tried = {
            block: naive_loss(by_hand(model, [*dropped, block]), *PADDED)
            for block in range(1, NUM_BLOCKS - 1)
            if block not in dropped
        }
        dropped.append(min(tried, key=tried.__getitem__))
        losses.append(tried[dropped[-1]])
    return dropped, losses


@pytest.fixture(scope="module", params=[0, 1])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return llama(request.param)


@pytest.fixture(scope="module")
def pair_losses(model: PreTrainedModel) -> dict[Blocks, float]:
    """Of all 28 pairs, each by a model built by hand."""
    pairs = map(frozenset, itertools.combinations(range(NUM_BLOCKS), 2))
    return {pair: naive_loss(by_hand(model, pair), *PADDED) for pair in pairs}


def test_greedy_takes_the_steps_of_sleb(model: PreTrainedModel) -> None:
    chosen = choose_blocks(model, padded_set(), BlocksConfig(num=3), batch_size=2, seed=0)
    blocks, losses = naive_greedy(model, 3)
    assert chosen["blocks"] == blocks
    assert chosen["losses"] == pytest.approx(losses, rel=1e-5)
    assert chosen["dense_loss"] == pytest.approx(naive_loss(model, *PADDED), rel=1e-5)
    assert chosen["num_measured"] == 1 + 6 + 5 + 4


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_evolution_finds_the_best_of_all_pairs(model: PreTrainedModel, pair_losses: dict[Blocks, float], seed: int) -> None:
    config = BlocksConfig(search=Search.evolution, num=2)
    chosen = choose_blocks(model, padded_set(), config, batch_size=4, seed=seed)
    best = min(pair_losses, key=pair_losses.__getitem__)
    assert chosen["blocks"] == sorted(best)
    assert chosen["loss"] == pytest.approx(pair_losses[best], rel=1e-5)
    assert chosen["num_measured"] <= 1 + len(pair_losses), "no pair is measured twice"


def test_losses_asked_for_together_alone_and_by_hand_agree(model: PreTrainedModel, pair_losses: dict[Blocks, float]) -> None:
    losses = SkippedLosses(model, find_blocks(model), padded_set(), batch_size=2)
    before = [vars(block).get("forward") for block in find_blocks(model)]
    of_three = [pair for pair in pair_losses if 3 in pair]
    together = losses(of_three, Blocks({3}))
    assert together == {pair: losses([pair])[pair] for pair in of_three}
    assert together == pytest.approx({pair: pair_losses[pair] for pair in of_three}, rel=1e-5)
    assert [vars(block).get("forward") for block in find_blocks(model)] == before


@pytest.mark.parametrize("num", [0, 1, 3, 6])
def test_every_set_of_a_generation_has_the_asked_number(num: int) -> None:
    rng = np.random.default_rng(num)
    sets_PB = rng.integers(0, 2, (40, 6), dtype=bool)
    fixed_PB = repaired(sets_PB, num, rng)
    assert (fixed_PB.sum(axis=1) == num).all()
    for before_B, after_B in zip(sets_PB, fixed_PB, strict=True):
        assert (before_B & after_B).sum() == min(before_B.sum(), num), "blocks change sides in one direction only"


def test_evolution_measures_sets_of_the_asked_number_among_the_allowed_blocks() -> None:
    seen: list[Blocks] = []

    def measure(asked: Sequence[Blocks], common: Blocks) -> dict[Blocks, float]:
        seen.extend(asked)
        return {blocks: float(sum(blocks)) for blocks in asked}

    config = BlocksConfig(search=Search.evolution, population=10, generations=20, mutation=0.1)
    found = evolution(range(2, 12), 4, Memory(measure), config, np.random.default_rng(0))
    assert found.blocks == (2, 3, 4, 5) and found.loss == 14
    assert all(len(blocks) == 4 and blocks <= set(range(2, 12)) for blocks in seen)
    assert len(seen) == len(set(seen)), "each set is measured once"
    assert list(found.losses) == sorted(found.losses, reverse=True)


def check_loads(smaller: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """What plain transformers loads computes and generates as the smaller model does."""
    smaller.save_pretrained(folder)
    loaded = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens_BL, _ = calibration(2, 9)
    with torch.no_grad():
        assert torch.equal(loaded(tokens_BL).logits, smaller(tokens_BL).logits)
        options: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False, "attention_mask": torch.ones(2, 5)}
        told = [each.generate(tokens_BL[:, :5], **options) for each in (loaded, smaller)]
        whole = smaller.generate(tokens_BL[:, :5], use_cache=False, **options)
    assert torch.equal(*told) and torch.equal(told[0], whole), "the cache finds keys by the blocks' new numbers"
    read: PreTrainedModel = loaded
    return read


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "gemma3"])
def test_the_smaller_model_is_the_one_with_a_block_skipped(name: str, tmp_path: Path) -> None:
    model = tiny_model(CONFIGS[name]())
    dense, tied = model.state_dict(), model.config.tie_word_embeddings
    skipped = Blocks({1})
    calibrated = CalibrationSet.of_tokens(*calibration(2, 9))
    loss = SkippedLosses(model, find_blocks(model), calibrated, batch_size=2)([skipped])[skipped]
    smaller = without_blocks(model, skipped)
    check_loss(smaller, calibrated, {"loss": loss, "blocks": [1]}, batch_size=2)
    loaded = check_loads(smaller, tmp_path)
    assert len(find_blocks(loaded)) == loaded.config.num_hidden_layers == 2
    assert len(find_blocks(model)) == model.config.num_hidden_layers == 3, "the dense model stays whole"
    assert all(value.data_ptr() == dense[name].data_ptr() for name, value in model.state_dict().items())
    assert smaller.get_input_embeddings().weight is model.get_input_embeddings().weight, "no weight is copied"
    assert (loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight) == tied


KINDS = ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"]


@pytest.mark.parametrize(("dropped", "kinds"), [({0}, KINDS[1:]), ({1}, [KINDS[0], *KINDS[2:]]), ({0, 2}, KINDS[1::2])])
def test_lists_of_one_entry_a_block_keep_those_of_the_kept_blocks(
    dropped: set[int], kinds: list[str], tmp_path: Path
) -> None:
    config = Gemma3TextConfig(**WIDTH, num_hidden_layers=4, head_dim=8, sliding_window=4, layer_types=KINDS)
    smaller = without_blocks(tiny_model(config), dropped)
    assert check_loads(smaller, tmp_path).config.layer_types == kinds
    assert config.layer_types == KINDS


def test_attention_types_of_gpt_neo_are_rewritten(tmp_path: Path) -> None:
    width = {"vocab_size": VOCAB, "hidden_size": 16, "num_heads": 2, "intermediate_size": 32, "window_size": 4}
    config = GPTNeoConfig(**width, num_layers=4, attention_types=[[["global", "local"], 2]], max_position_embeddings=32)
    loaded = check_loads(without_blocks(tiny_model(config), {1}), tmp_path)
    assert loaded.config.attention_layers == ["global", "global", "local"]


def test_blocks_that_compute_by_their_number_are_kept_before_the_others() -> None:
    model = tiny_model(DiffLlamaConfig(**WIDTH, num_hidden_layers=4))
    with pytest.raises(UserError, match=r"without blocks 1 cannot be described .*lambda_init of model\.layers\.1"):
        without_blocks(model, {1})
    possible = Droppable(model)
    assert [possible({block}) for block in range(4)] == [False, False, False, True]
    config = BlocksConfig(num=1, keep_first=0, keep_last=0)
    assert choose_blocks(model, padded_set(), config, batch_size=4, seed=0)["blocks"] == [3], "the only one that may go"


def test_a_loss_that_the_search_did_not_find_is_told(model: PreTrainedModel) -> None:
    with pytest.raises(UserError, match="what its blocks compute depends on their index"):
        check_loss(without_blocks(model, {2}), padded_set(), {"loss": 1.0, "blocks": [2]}, batch_size=4)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (BlocksConfig(num=7), "sparsity.num=7 would drop 7 of the model's 8 blocks.*Give sparsity.num=6 or less"),
        (BlocksConfig(ratio=0.9), r"sparsity.ratio=0.9 would drop 8 of"),
        (BlocksConfig(num=8, search=Search.evolution), "Give sparsity.num=7 or less"),
        (BlocksConfig(num=1, keep_first=4, keep_last=4), "Give a model with more blocks"),
    ],
)
def test_more_blocks_than_may_go_are_refused(model: PreTrainedModel, config: BlocksConfig, said: str) -> None:
    with pytest.raises(UserError, match=said):
        choose_blocks(model, padded_set(), config, batch_size=4, seed=0)


def test_a_model_whose_loss_overflows_is_refused() -> None:
    model = llama()
    with torch.no_grad():
        model.get_output_embeddings().weight.fill_(math.inf)
    with pytest.raises(UserError, match=r"the loss of the dense model .* is not finite"):
        choose_blocks(model, padded_set(), BlocksConfig(num=1), batch_size=4, seed=0)


def test_reports_say_which_linears_are_gone(model: PreTrainedModel) -> None:
    reports = report_blocks(model, {2, 5})
    assert {report.block for report in reports if report.sparsity == 1} == {2, 5}
    assert all(report.num_removed == report.asked * report.num_weights for report in reports)
    assert len(reports) == 7 * NUM_BLOCKS


@pytest.mark.parametrize(("ratio", "num_blocks", "num"), [(0.1, 30, 3), (0.1, 32, 4), (0.3, 10, 3), (0.01, 8, 1)])
def test_the_number_is_rounded_up(ratio: float, num_blocks: int, num: int) -> None:
    assert BlocksConfig(ratio=ratio).num_dropped(num_blocks) == num
