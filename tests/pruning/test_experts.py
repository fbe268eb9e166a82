"""Experts of a mixture against a twin whose experts are linears of their own, and pruned in other ways to the same bits."""

from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel

from prune.calib.calibration_set import CalibrationSet
from prune.config.method import RouterWeight
from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, weights_sha256
from prune.models.offload import Mover, offload_blocks
from prune.pruning.expert_inputs import ExpertRule
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import prune_model
from prune.pruning.linear_report import describe_few_tokens
from prune.pruning.measured import Measured
from prune.pruning.method import Method
from prune.pruning.methods.dsnot import DSnoT
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.start import Start
from prune.pruning.methods.swaps import Swaps
from prune.pruning.methods.wanda import Wanda
from prune.pruning.owl import outlier_share, owl_ratios, spread_ratios
from prune.pruning.propagation import DenseInputs, KeptInputs, collect_all, kind_of
from prune.pruning.sparsity import NM, Pattern
from prune.pruning.weighted_set import weighted
from prune.pruning.weights.attention import Attention
from tests.architectures import calibration, calibration_set
from tests.mixtures import NUM_BLOCKS, NUM_EXPERTS
from tests.pruning.expert_twins import (
    ALL,
    HALF,
    ROUTED,
    assert_same_as_twin,
    made,
    plain_linears,
    plain_twin,
    pruned,
    twin_inputs,
    weights,
)

METHODS: list[Method] = [Magnitude(), Wanda(), RIA(), SparseGPT()]
TWINS = ["mixtral", "qwen3_moe", "olmoe", "deepseek_v2", "granitemoe", "gpt_oss", "nemotron_h"]


# --- the statistics see what the router sends ---


@pytest.mark.parametrize("pattern", [HALF, NM(2, 4)], ids=str)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_mixtral_is_pruned_as_its_twin_with_plain_linears(method: Method, pattern: Pattern) -> None:
    reports = assert_same_as_twin("mixtral", method, pattern, padded=True)
    experts = [report for report in reports if "experts" in report.name]
    assert len(experts) == NUM_BLOCKS * NUM_EXPERTS * 3
    if method.needs_inputs:
        assert {report.statistic for report in experts} == {"routed"}
        num_passes = NUM_BLOCKS * 2 * int(calibration(padded=True)[1].sum())
        assert sum(report.tokens or 0 for report in experts) == 3 * num_passes, "every token goes to two experts"
    assert all((report.tokens is None) != ("experts" in report.name and method.needs_inputs) for report in reports)


@pytest.mark.parametrize("method", [Wanda(), SparseGPT()], ids=lambda method: method.name)
@pytest.mark.parametrize("kind", TWINS[1:])
def test_every_layout_is_pruned_as_its_twin(kind: str, method: Method) -> None:
    assert_same_as_twin(kind, method, HALF)


@pytest.mark.parametrize("method", [Wanda(), SparseGPT()], ids=lambda method: method.name)
@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss"])
def test_all_tokens_for_every_expert(kind: str, method: Method) -> None:
    reports = assert_same_as_twin(kind, method, HALF, ALL, padded=True)
    assert {report.statistic for report in reports if "experts" in report.name} == {"all"}


@pytest.mark.parametrize("router_weight", [RouterWeight.gate, RouterWeight.gate2], ids=lambda each: each.value)
def test_tokens_count_by_what_the_router_gives_them(router_weight: RouterWeight) -> None:
    """gate2: the score of MoE-Pruner, |W_ij| times the norm of x_j * gate; the weights of tokens are float32."""
    for method in (Wanda(), SparseGPT()):
        rule = ExpertRule(router_weight=router_weight, min_tokens=1)
        assert_same_as_twin("mixtral", method, HALF, rule, padded=True, rounding=1e-7)


def test_where_every_token_goes_to_every_expert_routed_is_all() -> None:
    for method in (Wanda(), SparseGPT()):
        of_rule = []
        for rule in (ROUTED, ALL):
            model = made("qwen3_moe", num_experts_per_tok=NUM_EXPERTS)
            prune_model(model, calibration_set(padded=True), method, HALF, batch_size=2, experts=rule)
            of_rule.append(weights(model))
        for name, weight_OI in of_rule[0].items():
            torch.testing.assert_close(weight_OI, of_rule[1][name], rtol=1e-9, atol=1e-12)


# --- experts that few tokens come to ---


def lonely() -> PreTrainedModel:
    """The router of the first block sends nothing to expert 1."""
    model = made("gpt_oss")
    with torch.no_grad():
        find_blocks(model)[0].get_submodule("mlp.router").bias[1] = -1e9
    return model


def test_an_expert_without_a_token_is_pruned_by_all_of_its_layer() -> None:
    by_all, found, routed = lonely(), lonely(), lonely()
    pruned(by_all, Wanda(), ALL)
    reports = pruned(found, Wanda())
    pruned(routed, Wanda(), ROUTED)
    seen = {(report.block, report.name): (report.tokens, report.statistic) for report in reports}
    few = {place for place, (_, statistic) in seen.items() if statistic == "all"}
    assert few == {(0, f"mlp.experts.1.{kind}") for kind in ("gate_proj", "up_proj", "down_proj")}
    assert {seen[place][0] for place in few} == {0}
    expected, others, own = weights(by_all), weights(routed), weights(found)
    for name in own:
        assert torch.equal(own[name], others[name])
        if name.startswith("0.mlp.experts.1."):
            assert torch.equal(own[name], expected[name]), "as where every expert sees every token"
            assert not torch.equal((own[name] == 0).double().mean(dim=0), torch.full_like(own[name][0], 0.5))
    warning = describe_few_tokens(reports)
    assert warning is not None and "1 of 8 experts (blocks 0 to 0) got at most 0 tokens" in warning
    assert describe_few_tokens([report for report in reports if report.block]) is None


IMPROVES_SPARSEGPT = DSnoT(start=Start.sparsegpt, max_cycles=2)
MEASURED: list[Method] = [Measured(IMPROVES_SPARSEGPT), Measured(Magnitude())]


@pytest.mark.parametrize("method", [Wanda(), RIA(), DSnoT(max_cycles=2), Measured(Wanda())], ids=str)
def test_norms_need_one_token(method: Method) -> None:
    reports = pruned(made("mixtral"), method, given=calibration_set(8, 16, padded=True))
    assert {report.statistic for report in reports if report.tokens} == {"routed"}
    assert min(report.tokens for report in reports if report.tokens) < 32


@pytest.mark.parametrize("method", [SparseGPT(), Swaps(max_sweeps=2), IMPROVES_SPARSEGPT, *MEASURED], ids=str)
def test_a_hessian_needs_more_tokens_than_norms_do(method: Method) -> None:
    """72 tokens, two experts each: some get 32, some do not."""
    many = calibration_set(8, 16, padded=True)
    reports = pruned(made("mixtral"), method, given=many)
    seen = {(report.tokens or 0, report.statistic) for report in reports if report.tokens is not None}
    assert {statistic for _, statistic in seen} == {"routed", "all"}
    assert all((tokens < 32) == (statistic == "all") for tokens, statistic in seen)
    least = min(tokens for tokens, _ in seen) + 1
    again = pruned(made("mixtral"), method, ExpertRule(min_tokens=least), given=many)
    assert {report.statistic for report in again if report.block == 0 and report.tokens is not None} >= {"routed"}
    assert all((report.tokens < least) == (report.statistic == "all") for report in again if report.tokens is not None)


# --- the same by other ways ---


@pytest.mark.parametrize("method", [Wanda(), SparseGPT()], ids=lambda method: method.name)
def test_dense_inputs_are_the_same_kept_or_own(method: Method) -> None:
    """Either kind of statistic has its own rule for few tokens, also where one walk serves both."""

    def walk(model: PreTrainedModel) -> Walk:
        with torch.no_grad():
            return Walk(model, calibration_set(8, 16, padded=True), batch_size=2)

    model, other, published = made("mixtral"), made("mixtral"), made("mixtral")
    kept = collect_all(walk(model), [Wanda(), SparseGPT()])
    of_kept = prune_model(model, KeptInputs(model, kept[kind_of(method)]), method, HALF)
    of_own = prune_model(other, DenseInputs(walk(other), method), method, HALF)
    assert weights_sha256(model) == weights_sha256(other)
    assert [(each.tokens, each.statistic) for each in of_kept] == [(each.tokens, each.statistic) for each in of_own]
    assert {each.statistic for each in of_own} == {None, "routed", *(["all"] if isinstance(method, SparseGPT) else [])}
    pruned(published, method, given=calibration_set(8, 16, padded=True))
    same = [
        all(
            torch.equal(weight_OI, weights(published)[name])
            for name, weight_OI in weights(other).items()
            if name[0] == block
        )
        for block in "01"
    ]
    assert same == [True, False]


@pytest.mark.parametrize("rule", [ROUTED, ALL, ExpertRule()], ids=["routed", "all", "few"])
def test_experts_in_portions_are_the_same_bits(rule: ExpertRule, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, apart = made("qwen2_moe"), made("qwen2_moe")
    expected = pruned(at_once, SparseGPT(), rule)
    monkeypatch.setattr("prune.pruning.hidden_states.room_on", lambda device: 1)
    reports = pruned(apart, SparseGPT(), rule)
    assert weights_sha256(at_once) == weights_sha256(apart)
    assert [(each.name, each.tokens, each.error) for each in reports] == [
        (each.name, each.tokens, each.error) for each in expected
    ]
    with torch.no_grad():
        walk = Walk(apart, calibration_set(), batch_size=2, experts=rule)
    names = list(find_linears(find_blocks(apart)[0]))
    portions = walk.portions(0, SparseGPT(), names)
    assert [name for portion in portions for name in portion] == names and len(portions) == NUM_EXPERTS
    with pytest.raises(UserError, match=r"block 0: .* experts do not fit .* method\.propagation=pruned"):
        prune_model(apart, DenseInputs(walk, SparseGPT()), SparseGPT(), HALF)


def test_offloaded_blocks_are_the_same_bits() -> None:
    plain, model = made("gpt_oss"), made("gpt_oss")
    offload_blocks(model, find_blocks(model), Mover(torch.device("cpu")))
    expected, reports = pruned(plain, SparseGPT()), pruned(model, SparseGPT())
    assert weights_sha256(plain) == weights_sha256(model)
    assert [each.tokens for each in reports] == [each.tokens for each in expected]


def test_some_matrices_of_experts_only() -> None:
    whole, model, dense = made("mixtral"), made("mixtral"), made("mixtral")
    pruned(whole, Wanda(), ROUTED)
    names = ["0.mlp.experts.2.up_proj", "0.mlp.experts.3.down_proj"]
    reports = prune_model(model, calibration_set(padded=True), Wanda(), dict.fromkeys(names, HALF), batch_size=2)
    found, of_all, before = weights(model), weights(whole), weights(dense)
    assert all(torch.equal(found[name], (of_all if name in names else before)[name]) for name in found)
    assert sum(not report.skipped for report in reports) == 2


def test_token_weights_reach_experts() -> None:
    """Weights of one value change no bit; a token of weight 0 is as padding."""
    tokens_NL, real_NL = calibration(padded=True)
    plain, by_block, left_out, masked = (made("mixtral") for _ in range(4))
    pruned(plain, Wanda())
    everywhere = weighted(calibration_set(padded=True), Attention(1, 1))
    prune_model(by_block, everywhere, Wanda(), HALF, batch_size=2)
    assert weights_sha256(plain) == weights_sha256(by_block)
    half_NL = real_NL.clone()
    half_NL[:, -4:] = False
    for model, weights_NL in ((left_out, half_NL.float()), (masked, 2 * half_NL.float())):
        made_set = replace(CalibrationSet.of_tokens(tokens_NL, real_NL), weights_NL=weights_NL)
        reports = prune_model(model, made_set, Wanda(), HALF, batch_size=2)
        counted = sum(each.tokens or 0 for each in reports)
        assert counted == 3 * NUM_BLOCKS * 2 * int(half_NL.sum())
    assert weights_sha256(left_out) == weights_sha256(masked) != weights_sha256(plain)


def test_owl_counts_the_scores_of_all_experts() -> None:
    model = made("mixtral")
    names = [list(find_linears(block)) for block in find_blocks(model)]
    twin, shares = plain_twin(model, "mixtral"), []
    with torch.no_grad():
        for index, block in enumerate(find_blocks(twin)):
            linears = plain_linears(block, names[index])
            inputs = twin_inputs(twin, linears, *calibration(padded=True))
            scores = [each.weight.abs() * inputs[name].norm(dim=0) for name, each in linears.items()]
            shares.append(outlier_share(scores, 2.0))
    asked = {"multiple": 2.0, "spread": 0.08, "batch_size": 2}
    ratios = owl_ratios(model, calibration_set(padded=True), dict(enumerate(names)), 0.5, **asked)  # type: ignore[arg-type]
    assert list(ratios.values()) == pytest.approx(spread_ratios(shares, 0.5, 0.08)) and shares[0] != shares[1]
