"""Whole experts dropped: what each criterion says, what is left, and that plain transformers loads it."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    Ernie4_5_MoeConfig,
    GptOssConfig,
    GraniteMoeConfig,
    LlamaConfig,
    MixtralConfig,
    OlmoeConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
)

from prune.calib.calibration_set import CalibrationSet
from prune.config.drop import BlocksConfig, Criterion, ExpertsConfig
from prune.errors import UserError
from prune.pruning.drop_blocks import choose_blocks
from prune.pruning.drop_experts import choose_experts, report_experts, without
from prune.pruning.expert_scores import lowest_experts
from prune.pruning.mixtures import find_mixtures, without_experts
from prune.pruning.smaller import without_blocks
from tests.architectures import VOCAB, calibration, tiny_model

WIDTH = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SMALL = {"moe_intermediate_size": 12, "num_experts_per_tok": 2}
LATENT = {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}
PADDED = calibration(num_samples=4, seq_len=10, padded=True)

CONFIGS: dict[str, Callable[[], PretrainedConfig]] = {
    "mixtral": lambda: MixtralConfig(**WIDTH, num_local_experts=6),
    "qwen2_moe": lambda: Qwen2MoeConfig(**WIDTH, **SMALL, num_experts=6, shared_expert_intermediate_size=20),
    "qwen3_moe": lambda: Qwen3MoeConfig(**WIDTH, **SMALL, num_experts=6, head_dim=8),
    "olmoe": lambda: OlmoeConfig(**WIDTH, num_experts=6, num_experts_per_tok=2),
    "granitemoe": lambda: GraniteMoeConfig(**WIDTH, num_local_experts=6, num_experts_per_tok=2),
    "deepseek_v3": lambda: DeepseekV3Config(
        **(WIDTH | {"num_key_value_heads": 4, "num_hidden_layers": 3}),
        **SMALL,
        **LATENT,
        n_routed_experts=8,
        n_group=2,
        topk_group=1,
        first_k_dense_replace=1,
    ),
    "gpt_oss": lambda: GptOssConfig(**WIDTH, num_local_experts=6, num_experts_per_tok=2, head_dim=8, sliding_window=8),
    "ernie4_5_moe": lambda: Ernie4_5_MoeConfig(
        **WIDTH, moe_num_experts=6, moe_k=2, moe_intermediate_size=12, moe_layer_start_index=0
    ),
}


def padded_set() -> CalibrationSet:
    return CalibrationSet.of_tokens(*PADDED)


def choose(model: PreTrainedModel, **knobs: Any) -> dict[str, Any]:
    return choose_experts(model, padded_set(), ExpertsConfig(**knobs), batch_size=3)


@pytest.fixture(scope="module")
def mixtral() -> PreTrainedModel:
    return tiny_model(CONFIGS["mixtral"]())


def close(found: Tensor, expected: Tensor) -> None:
    """Equal but for the last bits, which depend on where a tensor lies in memory and how many rows a router has."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


class Seen:
    """What enters and leaves each mixture of a Mixtral on the real tokens, each sequence run alone."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.inputs: list[list[Tensor]] = [[] for _ in model.model.layers]
        self._model = model
        handles = [
            block.mlp.register_forward_pre_hook(lambda module, args, kept=kept: kept.append(args[0][0]))
            for block, kept in zip(model.model.layers, self.inputs, strict=True)
        ]
        with torch.no_grad():
            for tokens_L, real_L in zip(*PADDED, strict=True):
                model(tokens_L[real_L][None])
        for handle in handles:
            handle.remove()

    def input(self, block: int) -> Tensor:
        """T x hidden."""
        return torch.cat(self.inputs[block])

    def mixture(self, block: int) -> nn.Module:
        mixture: nn.Module = self._model.model.layers[block].mlp
        return mixture


def route(mixture: Any, x_TH: Tensor, left: Sequence[int]) -> Tensor:
    """T x E: the gate of each expert, 0 where a token does not choose it; of those that are left, as Mixtral does it."""
    logits_TE = linear(x_TH, mixture.gate.weight)
    masked_TE = torch.full_like(logits_TE, -math.inf)
    masked_TE[:, list(left)] = logits_TE[:, list(left)]
    share_TE = masked_TE.softmax(dim=1)
    gate_TK, index_TK = share_TE.topk(2, dim=1)
    return torch.zeros_like(logits_TE).scatter(1, index_TK, gate_TK / gate_TK.sum(dim=1, keepdim=True))


def expert_output(mixture: Any, expert: int, x_TH: Tensor) -> Tensor:
    gate_TI, up_TI = linear(x_TH, mixture.experts.gate_up_proj[expert]).chunk(2, dim=1)
    return linear(silu(gate_TI) * up_TI, mixture.experts.down_proj[expert])


def naive_scores(model: PreTrainedModel, criterion: Criterion) -> dict[str, list[float]]:
    """By the formulas, with experts and routing written out."""
    seen = Seen(model)
    return {f"{block}.mlp": _naive_block(seen, block, criterion) for block in range(2)}


def _naive_block(seen: Seen, block: int, criterion: Criterion) -> list[float]:
    mixture: Any = seen.mixture(block)
    x_TH = seen.input(block)
    with torch.no_grad():
        gates_TE = route(mixture, x_TH, range(6)).double()
        scores = []
        for expert in range(6):
            is_routed_T = gates_TE[:, expert] > 0
            out_NH = expert_output(mixture, expert, x_TH[is_routed_T]).double()
            norm_N = out_NH.norm(dim=1)
            scores.append(
                {
                    Criterion.usage: lambda chosen=is_routed_T: float(chosen.sum()),
                    Criterion.norm: lambda norm=norm_N: float(norm.sum()),
                    Criterion.reap: lambda norm=norm_N, gate=gates_TE[is_routed_T, expert]: float((gate * norm).mean()),
                    Criterion.entropy: lambda out=out_NH: float(out.std(dim=0, correction=0).log().sum()),
                    Criterion.router: lambda row=mixture.gate.weight[expert]: float(row.double().norm()),
                }[criterion]()
            )
    return scores


@pytest.mark.parametrize("criterion", [each for each in Criterion if each is not Criterion.exact])
def test_scores_are_those_of_the_formulas(mixtral: PreTrainedModel, criterion: Criterion) -> None:
    chosen = choose(mixtral, criterion=criterion, num=2)
    naive = naive_scores(mixtral, criterion)
    for name, scores in naive.items():
        assert chosen["scores"][name] == pytest.approx(scores, rel=1e-5)
        assert chosen["experts"][name] == sorted(sorted(range(6), key=scores.__getitem__)[:2])
    if criterion is not Criterion.router:
        real = int(PADDED[1].sum())
        assert all(sum(tokens) == 2 * real for tokens in chosen["tokens"].values()), "padding reaches no expert"


def test_exact_is_the_best_of_all_sets(mixtral: PreTrainedModel) -> None:
    chosen, seen = choose(mixtral, criterion=Criterion.exact, num=2), Seen(mixtral)
    for block in range(2):
        mixture, x_TH = seen.mixture(block), seen.input(block)
        with torch.no_grad():
            outputs_ETH = torch.stack([expert_output(mixture, expert, x_TH) for expert in range(6)])
            dense_TH = torch.einsum("te,eth->th", route(mixture, x_TH, range(6)), outputs_ETH).double()
            errors = {}
            for dropped in itertools.combinations(range(6), 2):
                left = [expert for expert in range(6) if expert not in dropped]
                smaller_TH = torch.einsum("te,eth->th", route(mixture, x_TH, left), outputs_ETH).double()
                errors[dropped] = float((smaller_TH - dense_TH).square().sum() / dense_TH.square().sum())
        best = min(errors, key=errors.__getitem__)
        assert chosen["experts"][f"{block}.mlp"] == list(best)
        assert chosen["relative_errors"][f"{block}.mlp"] == pytest.approx(errors[best], rel=1e-4)


class Minus(nn.Module):
    """A router that never chooses one expert: its logit is minus infinity."""

    def __init__(self, router: Any, dead: Sequence[int]) -> None:
        super().__init__()
        self.router, self.dead = router, list(dead)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits_TE = linear(hidden, self.router.weight)
        logits_TE[:, self.dead] = -math.inf
        share_TE = logits_TE.float().softmax(dim=-1)
        gate_TK, index_TK = share_TE.topk(self.router.top_k, dim=-1)
        return logits_TE, gate_TK / gate_TK.sum(dim=-1, keepdim=True), index_TK


@pytest.fixture(scope="module")
def dead() -> PreTrainedModel:
    """A DeepSeek-V3 whose expert 5 no token chooses: its correction, by which it is chosen, is far below."""
    settings = CONFIGS["deepseek_v3"]().to_dict() | {"n_group": 1, "topk_group": 1}
    model = tiny_model(DeepseekV3Config.from_dict(settings))
    for block in model.model.layers[1:]:
        block.mlp.gate.e_score_correction_bias[5] = -1e9
    return model


@pytest.mark.parametrize("criterion", [Criterion.usage, Criterion.norm, Criterion.reap, Criterion.entropy, Criterion.exact])
def test_a_dead_expert_goes_first_and_nothing_changes_without_it(dead: PreTrainedModel, criterion: Criterion) -> None:
    chosen = choose(dead, criterion=criterion, num=1)
    assert chosen["experts"] == {"1.mlp": [5], "2.mlp": [5]}
    with torch.no_grad():
        close(without(dead, chosen)(PADDED[0]).logits, dead(PADDED[0]).logits)
    if criterion is Criterion.exact:
        assert max(chosen["relative_errors"].values()) < 1e-12
    else:
        assert [scores[5] for scores in chosen["scores"].values()] == [None if criterion is Criterion.entropy else 0] * 2


def test_logits_without_experts_are_those_of_the_masked_router(mixtral: PreTrainedModel) -> None:
    smaller = without_experts(mixtral, {"0.mlp": [0, 2, 3, 5], "1.mlp": [1, 2, 3, 4]})
    tokens_BL, _ = calibration(3, 9)
    masked = tiny_model(CONFIGS["mixtral"]())
    for block, dead in zip(masked.model.layers, ([1, 4], [0, 5]), strict=True):
        block.mlp.gate = Minus(block.mlp.gate, dead)
    with torch.no_grad():
        close(smaller(tokens_BL).logits, masked(tokens_BL).logits)


@pytest.mark.parametrize("name", CONFIGS)
def test_plain_transformers_loads_what_is_left(name: str, tmp_path: Path) -> None:
    model = tiny_model(CONFIGS[name]())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    chosen = choose(model, criterion=Criterion.reap, num=2)
    smaller = without(model, chosen)
    smaller.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokens_BL, _ = calibration(2, 9)
    with torch.no_grad():
        close(loaded(tokens_BL).logits, smaller(tokens_BL).logits)
    read = loaded.state_dict()
    assert all(torch.equal(value, read[key]) for key, value in smaller.state_dict().items())
    number = chosen["num_experts"]
    assert {mixture.num_experts for mixture in find_mixtures(loaded)} == {number - 2}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()), "the dense model stays whole"
    if name == "deepseek_v3":
        halves = [[expert // 4 for expert in gone] for gone in chosen["experts"].values()]
        assert halves == [[0, 1]] * 2, "as many in each group of the router"


def test_rounds_drop_what_one_step_after_another_drops(mixtral: PreTrainedModel) -> None:
    once = choose(mixtral, criterion=Criterion.norm, num=2)
    assert choose(mixtral, criterion=Criterion.norm, num=2, rounds=1) == once
    in_rounds = choose(mixtral, criterion=Criterion.norm, num=2, rounds=2)
    first = choose(mixtral, criterion=Criterion.norm, num=1)
    second = choose(without(mixtral, first), criterion=Criterion.norm, num=1)
    for name, (gone,) in first["experts"].items():
        left = [expert for expert in range(6) if expert != gone]
        assert in_rounds["experts"][name] == sorted([gone, left[second["experts"][name][0]]])
    assert in_rounds["scores"] == once["scores"], "those of the dense model"


def test_a_round_without_an_expert_to_drop_is_no_round(mixtral: PreTrainedModel) -> None:
    assert choose(mixtral, criterion=Criterion.usage, num=1, rounds=5) == choose(mixtral, criterion=Criterion.usage, num=1)


def test_of_equal_scores_the_first_go_and_groups_lose_alike() -> None:
    assert lowest_experts([0.0, 0.0, 0.0, 1.0], 2, 1) == [0, 1]
    assert lowest_experts([0.0, 1.0, 2.0, 3.0], 2, 2) == [0, 2]
    assert lowest_experts([5.0, -math.inf, 2.0, 1.0], 2, 1) == [1, 3]


@pytest.mark.parametrize(
    ("name", "knobs", "said"),
    [
        ("mixtral", {"num": 5}, "would leave 1 of 6 experts, and 2 are needed: each token chooses 2.*sparsity.num=4"),
        ("mixtral", {"num": 5, "criterion": Criterion.router}, "each token chooses 2"),
        ("deepseek_v3", {"num": 3}, "into 2 groups of one size: the number must be a multiple of 2, as in sparsity.num=2"),
        ("deepseek_v3", {"num": 6}, "2 of 8 experts, and 4 are needed: each token chooses 2, out of 1 of 2 groups"),
    ],
)
def test_too_few_experts_are_refused(name: str, knobs: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        choose(tiny_model(CONFIGS[name]()), **knobs)


def test_exact_refuses_more_sets_than_can_be_tried() -> None:
    model = tiny_model(Qwen3MoeConfig(**WIDTH, **SMALL, num_experts=32, head_dim=8))
    with pytest.raises(UserError, match=r"would try 35,960 sets of 4 of 32 experts .*sparsity\.criterion=reap"):
        choose(model, criterion=Criterion.exact, num=4)


def test_a_model_without_experts_is_refused() -> None:
    with pytest.raises(UserError, match="LlamaForCausalLM has no fused experts of a known layout"):
        choose(tiny_model(LlamaConfig(**WIDTH)), num=1)


def test_reports_say_which_matrices_are_gone(mixtral: PreTrainedModel) -> None:
    chosen = choose(mixtral, criterion=Criterion.usage, num=2)
    reports = report_experts(mixtral, chosen)
    gone = {(report.block, report.name) for report in reports if report.num_removed}
    assert gone == {
        (block, f"mlp.experts.{expert}.{kind}")
        for block in range(2)
        for expert in chosen["experts"][f"{block}.mlp"]
        for kind in ("gate_proj", "up_proj", "down_proj")
    }
    assert len(reports) == 2 * (4 + 18)


def test_whole_blocks_of_a_mixture_can_go(tmp_path: Path) -> None:
    model = tiny_model(CONFIGS["deepseek_v3"]())
    config = BlocksConfig(num=1, keep_first=0, keep_last=0)
    chosen = choose_blocks(model, padded_set(), config, batch_size=4, seed=0)
    smaller = without_blocks(model, chosen["blocks"])
    smaller.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        close(loaded(PADDED[0]).logits, smaller(PADDED[0]).logits)
