"""Experts of a mixture against a naive twin: the same model with every expert's matrices as linears of their own."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers import AutoModelForCausalLM, PreTrainedModel

from prune.apply import apply_mask
from prune.calib.calibration_set import CalibrationSet
from prune.cell.resources import DenseCopy
from prune.config.config import Save
from prune.config.method import ExpertTokens, RouterWeight
from prune.config.model import ModelConfig
from prune.errors import UserError
from prune.models.blocks import count_sparsity, find_blocks, find_linears, named_linears, read_weight, weights_sha256
from prune.models.experts import ExpertMatrix, is_fused
from prune.models.experts_forward import ExpertPass, one_by_one
from prune.models.files import EMBEDDED_FOLDER
from prune.models.load import load_model
from prune.models.offload import Mover, offload_blocks
from prune.pruning.expert_inputs import ExpertRule
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.linear_report import LinearReport, describe_few_tokens
from prune.pruning.method import Method
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda
from prune.pruning.owl import outlier_share, owl_ratios, spread_ratios
from prune.pruning.propagation import DenseInputs, KeptInputs, collect_all, kind_of
from prune.pruning.saved import MASK_FILE, MODEL_FOLDER, MaskKeeper, restore_pruned, save_mask, save_model
from prune.pruning.sparsity import NM, Pattern, Unstructured
from prune.pruning.weighted_set import weighted
from prune.pruning.weights.attention import Attention
from tests.architectures import calibration, calibration_set, save_tokenizer, tiny_model
from tests.conftest import Compose, Said
from tests.mixtures import NUM_BLOCKS, NUM_EXPERTS, SETTINGS, mixture

HALF = Unstructured(0.5)
METHODS: list[Method] = [Magnitude(), Wanda(), RIA(), SparseGPT()]
USUAL = ExpertRule()
ROUTED = ExpertRule(min_tokens=1)
ALL = ExpertRule(ExpertTokens.all)
TWINS = ["mixtral", "qwen3_moe", "olmoe", "deepseek_v2", "granitemoe", "gpt_oss", "nemotron_h"]
Weights = dict[str, Tensor]


def made(kind: str, **changes: Any) -> PreTrainedModel:
    return tiny_model(mixture(kind, **changes)).double()


def weights(model: PreTrainedModel) -> Weights:
    return {name: read_weight(linear).clone() for name, linear in named_linears(model).items()}


# --- the twin ---


class PlainExperts(nn.Module):
    """Experts as a list of linears, cut from the fused tensors by hand."""

    def __init__(self, fused: Any, kind: str) -> None:
        super().__init__()
        self.kind, self.real_T, self.all_tokens, self.power = kind, torch.ones(0, dtype=torch.bool), False, 0
        self.act = getattr(fused, "act_fn", silu)
        self.experts = nn.ModuleList(nn.ModuleDict(self._cut(fused, expert)) for expert in range(NUM_EXPERTS))

    def _cut(self, fused: Any, expert: int) -> dict[str, nn.Module]:
        down, bias = fused.down_proj[expert], getattr(fused, "down_proj_bias", None)
        if self.kind == "nemotron_h":
            return {"up_proj": linear(fused.up_proj[expert]), "down_proj": linear(down)}
        both = fused.gate_up_proj[expert]
        if self.kind == "gpt_oss":
            both_bias = fused.gate_up_proj_bias[expert]
            return {
                "gate_proj": linear(both[:, 0::2].T, both_bias[0::2]),
                "up_proj": linear(both[:, 1::2].T, both_bias[1::2]),
                "down_proj": linear(down.T, None if bias is None else bias[expert]),
            }
        half = both.shape[0] // 2
        return {"gate_proj": linear(both[:half]), "up_proj": linear(both[half:]), "down_proj": linear(down)}

    def inner(self, expert: Any, x_PH: Tensor) -> Tensor:
        up_PI = expert["up_proj"](x_PH)
        if self.kind == "nemotron_h":
            return self.act(up_PI)  # type: ignore[no-any-return]
        gate_PI = expert["gate_proj"](x_PH)
        if self.kind == "gpt_oss":
            gate_PI, up_PI = gate_PI.clamp(max=7.0), up_PI.clamp(-7.0, 7.0)
            return (up_PI + 1) * gate_PI * torch.sigmoid(1.702 * gate_PI)  # type: ignore[no-any-return]
        return self.act(gate_PI) * up_PI  # type: ignore[no-any-return]

    def forward(self, hidden_TH: Tensor, index_TK: Tensor, weight_TK: Tensor) -> Tensor:
        total_TH = torch.zeros_like(hidden_TH)
        for number, expert in enumerate(self.experts):
            chosen_TK = index_TK == number
            tokens_P = chosen_TK.any(dim=1).nonzero().flatten()
            counting_P = self.real_T[tokens_P]
            expert.taken = None if self.all_tokens else counting_P
            expert.scale = (weight_TK * chosen_TK).sum(dim=1)[tokens_P][:, None] ** (self.power / 2)
            if self.all_tokens:  # for the hooks; the output is of the routed ones
                expert["down_proj"](self.inner(expert, hidden_TH))
                expert.taken = torch.zeros(len(tokens_P), dtype=torch.bool)
            output_PH = expert["down_proj"](self.inner(expert, hidden_TH[tokens_P]))
            total_TH.index_add_(0, tokens_P, output_PH * (weight_TK * chosen_TK).sum(dim=1)[tokens_P][:, None])
        return total_TH


def linear(weight_OI: Tensor, bias_O: Tensor | None = None) -> nn.Linear:
    made = nn.Linear(weight_OI.shape[1], weight_OI.shape[0], bias=bias_O is not None, dtype=weight_OI.dtype)
    with torch.no_grad():
        made.weight.copy_(weight_OI)
        if bias_O is not None:
            made.bias.copy_(bias_O)
    return made


def plain_twin(model: PreTrainedModel, kind: str) -> PreTrainedModel:
    twin = copy.deepcopy(model)
    for path, module in list(twin.named_modules()):
        if is_fused(module):
            parent, _, name = path.rpartition(".")
            setattr(twin.get_submodule(parent), name, PlainExperts(module, kind))
    return twin


def plain_linears(block: nn.Module, names: list[str]) -> dict[str, nn.Linear]:
    """The twin's linears under the names that the fused model gives them."""
    found = {name.replace("experts.experts.", "experts."): module for name, module in block.named_modules()}
    return {name: found[name] for name in names}  # type: ignore[misc]


def twin_inputs(twin: PreTrainedModel, linears: dict[str, nn.Linear], tokens_NL: Tensor, real_NL: Tensor) -> Weights:
    """What enters each linear at real tokens, by hooks in a forward pass of the whole twin."""
    inputs: dict[str, list[Tensor]] = {name: [] for name in linears}
    layers = [module for module in twin.modules() if isinstance(module, PlainExperts)]
    owners = {each: expert for layer in layers for expert in layer.experts for each in expert.values()}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            if module not in owners:
                inputs[name].append(args[0].reshape(*real_NL.shape, -1)[real_NL])
            else:
                taken = owners[module].taken
                inputs[name].append(args[0][real_NL.flatten()] if taken is None else (args[0] * owners[module].scale)[taken])

        return hook

    for layer in layers:
        layer.real_T = real_NL.flatten()
    handles = [each.register_forward_pre_hook(keep(name)) for name, each in linears.items()]
    twin(input_ids=tokens_NL, attention_mask=real_NL.long())
    for handle in handles:
        handle.remove()
    return {name: torch.cat(several) for name, several in inputs.items()}


def prune_twin(
    twin: PreTrainedModel, method: Method, pattern: Pattern, names: list[list[str]], padded: bool, rule: ExpertRule
) -> Weights:
    """Block by block, the whole model each time; every linear alone, by the method's own formula."""
    tokens_NL, real_NL = calibration(padded=padded)
    found: Weights = {}
    for module in twin.modules():
        if isinstance(module, PlainExperts):
            module.all_tokens = rule.tokens is ExpertTokens.all
            module.power = list(RouterWeight).index(rule.router_weight)
    with torch.no_grad():
        for index, block in enumerate(find_blocks(twin)):
            linears = plain_linears(block, names[index])
            inputs = twin_inputs(twin, linears, tokens_NL, real_NL)
            for name, each in linears.items():
                statistic = method.start_statistic(each.in_features, torch.device("cpu"))
                statistic.add(inputs[name])
                pruned = method.prune(each.weight.detach(), statistic, pattern, torch.Generator())
                each.weight.copy_(pruned.weight_OI)
                found[f"{index}.{name}"] = pruned.weight_OI
    return found


def assert_same_as_twin(
    kind: str, method: Method, pattern: Pattern, rule: ExpertRule = ROUTED, *, padded: bool = False, rounding: float = 1e-9
) -> list[LinearReport]:
    model = made(kind)
    twin, names = plain_twin(model, kind), [list(find_linears(block)) for block in find_blocks(model)]
    expected = prune_twin(twin, method, pattern, names, padded, rule)
    reports = prune_model(model, calibration_set(padded=padded), method, pattern, batch_size=2, experts=rule)
    check_reached(pattern, method, reports)
    found = weights(model)
    assert found.keys() == expected.keys()
    for name, weight_OI in found.items():
        assert torch.equal(weight_OI == 0, expected[name] == 0), name
        torch.testing.assert_close(weight_OI, expected[name], rtol=100 * rounding, atol=rounding)
    return reports


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


def pruned(model: PreTrainedModel, method: Method, rule: ExpertRule = USUAL, **options: Any) -> list[LinearReport]:
    options = {"given": calibration_set(padded=True), "batch_size": 2, "experts": rule} | options
    reports = prune_model(model, options.pop("given"), method, HALF, **options)
    check_reached(HALF, method, reports)
    return reports


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


def test_a_hessian_needs_more_tokens_than_norms_do() -> None:
    """72 tokens, two experts each: some get 32, some do not."""
    many = calibration_set(8, 16, padded=True)
    reports = pruned(made("mixtral"), SparseGPT(), given=many)
    seen = {(report.tokens or 0, report.statistic) for report in reports if report.tokens is not None}
    assert {statistic for _, statistic in seen} == {"routed", "all"}
    assert all((tokens < 32) == (statistic == "all") for tokens, statistic in seen)
    least = min(tokens for tokens, _ in seen) + 1
    again = pruned(made("mixtral"), SparseGPT(), ExpertRule(min_tokens=least), given=many)
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


# --- every type ---

HARMLESS = ("router", "gate", "shared_expert_gate", "conv1d", "A_log", "dt_proj")
"""What the names of matrices that stay dense have in them: routers, kernels, states; biases besides."""


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_type_is_walked_pruned_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    model = tiny_model(mixture(kind))
    tokens_NL, real_NL = calibration()
    given = {"input_ids": tokens_NL, "attention_mask": real_NL.long()}
    seen: list[Tensor] = []
    hook = find_blocks(model)[-1].register_forward_hook(
        lambda module, args, output: seen.append(output if isinstance(output, Tensor) else output[0])
    )
    with torch.no_grad():
        expected = model(**given).logits
        with one_by_one(model):
            torch.testing.assert_close(model(**given).logits, expected, rtol=1e-5, atol=1e-5)
        hook.remove()
        walk = Walk(model, calibration_set(), batch_size=len(tokens_NL))
        for index in range(NUM_BLOCKS):
            walk.advance(index)
    torch.testing.assert_close(walk.hidden_NLH, seen[0], rtol=1e-5, atol=1e-5)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    prune_model(model, calibration_set(), Wanda(), HALF, batch_size=2)
    check_zeros(model, before)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert weights_sha256(again) == weights_sha256(model)
    assert count_sparsity(again) == count_sparsity(model)


def check_zeros(model: PreTrainedModel, before: Weights) -> None:
    """Every matrix of the blocks is half zero, or of a harmless kind and as it was."""
    place = next(name for name, module in model.named_modules() if module is find_blocks(model))
    for name, parameter in model.named_parameters():
        parts = name.removeprefix(f"{place}.").split(".")
        is_harmless = any(part in HARMLESS for part in parts) or name.endswith(("_bias", "conv.conv.weight"))
        if is_harmless or parameter.dim() < 2 or not name.startswith(f"{place}."):
            assert torch.equal(parameter, before[name]), name
        else:
            halves = parameter if parameter.dim() == 3 else parameter[None]
            assert all(int((each == 0).sum()) * 2 == each.numel() for each in halves), name


def test_our_function_is_eager_and_leaves_no_trace() -> None:
    for kind in ("mixtral", "gpt_oss"):
        model, tokens_NL = made(kind), calibration()[0]
        seen: list[ExpertPass] = []
        with torch.no_grad():
            model.set_experts_implementation("eager")
            eager = model(tokens_NL).logits
            with one_by_one(model, seen.append), one_by_one(find_blocks(model)[0]):
                torch.testing.assert_close(model(tokens_NL).logits, eager, rtol=1e-12, atol=1e-12)
            assert torch.equal(model(tokens_NL).logits, eager)
        assert len(seen) == NUM_BLOCKS * NUM_EXPERTS
        assert sum(len(each.tokens_P) for each in seen) == NUM_BLOCKS * 2 * tokens_NL.numel()


def test_a_matrix_is_a_view_that_writes_through() -> None:
    for kind in SETTINGS:
        for name, linear in named_linears(made(kind)).items():
            if isinstance(linear, ExpertMatrix):
                before = int((linear.held == 0).sum())
                linear.weight.zero_()
                assert int((linear.held == 0).sum()) - before == linear.weight.numel() > 0, name
    model = made("mixtral")
    for linear in named_linears(model).values():
        linear.weight.detach().zero_()
    total = sum(parameter.numel() for name, parameter in model.named_parameters() if "layers" in name and "norm" not in name)
    routers = sum(parameter.numel() for name, parameter in model.named_parameters() if name.endswith("gate.weight"))
    assert count_sparsity(model) == (total - routers, total - routers)


# --- on disk ---


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixtral")
    tiny_model(mixture("mixtral")).save_pretrained(path)
    save_tokenizer(path)
    return path


def config_of(folder: Path) -> ModelConfig:
    return ModelConfig(name="mixture", path=str(folder), seq_len=32)


@pytest.mark.parametrize("save", ["mask", "model"])
def test_what_is_saved_comes_back_bit_for_bit(folder: Path, tmp_path: Path, save: str) -> None:
    loaded, masks = load_model(config_of(folder), "cpu"), MaskKeeper()
    pruned(loaded.model, Wanda(), on_mask=masks)
    sha256 = weights_sha256(loaded.model)
    if save == "mask":
        save_mask(tmp_path / MASK_FILE, masks, {"weights_sha256": sha256, "cell": "abc", "name": "a cell"})
        said = apply_mask(tmp_path / MASK_FILE, config_of(folder), tmp_path / MODEL_FOLDER)
        assert "(50%)" in said and "These are the weights of abc (a cell), bit for bit." in said
    else:
        save_model(tmp_path / MODEL_FOLDER, loaded, "card")
    saved, dense = (load_file(each / "model.safetensors") for each in (tmp_path / MODEL_FOLDER, folder))
    assert {name: tensor.shape for name, tensor in saved.items()} == {name: tensor.shape for name, tensor in dense.items()}
    experts = [tensor for name, tensor in saved.items() if ".experts.3." in name]
    assert len(experts) == 3 * NUM_BLOCKS and all(int((each == 0).sum()) * 2 == each.numel() for each in experts)
    again = load_model(config_of(folder), "cpu").model
    assert restore_pruned(tmp_path, again, sha256, Save(save)) and weights_sha256(again) == sha256
    damaged = load_model(config_of(folder), "cpu").model
    assert not restore_pruned(tmp_path, damaged, "0" * 64) and weights_sha256(damaged) != sha256


def test_a_shared_dense_copy_gives_every_cell_the_dense_weights(folder: Path) -> None:
    loaded = load_model(config_of(folder), "cpu")
    copy_of, sha256 = DenseCopy(loaded), weights_sha256(loaded.model)
    pruned(loaded.model, SparseGPT())
    assert weights_sha256(loaded.model) != sha256
    copy_of.restore()
    assert weights_sha256(loaded.model) == sha256


# --- whole lines ---


def test_a_line_prunes_a_mixture_and_says_what_came_to_its_experts(say: Callable[..., Said], tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED_FOLDER, tmp_path / "mixture")
    vocabulary = json.loads((EMBEDDED_FOLDER / "config.json").read_text())["vocab_size"]
    tiny_model(mixture("qwen2_moe", vocab_size=vocabulary)).save_pretrained(tmp_path / "mixture")
    model = ["model=hf", f"model.path={tmp_path}/mixture", "model.seq_len=32", "calib=svamp", "calib.num_samples=2"]
    rest = ["eval.perplexity=[]", "eval.tasks=[]", "tracker=none", "device=cpu"]
    said = say(*model, *rest, "method=sparsegpt", "sparsity=2to4")
    assert said.code == 0, said.err
    (path,) = tmp_path.glob("outputs/cells/*/blocks.jsonl")
    linears = [json.loads(line) for line in path.read_text().splitlines()]
    experts = [each for each in linears if ".experts." in each["name"]]
    assert len(experts) == 3 * NUM_BLOCKS * NUM_EXPERTS
    assert all(each["num_zero"] * 2 == each["num_weights"] for each in linears)
    assert sum(each["tokens"] for each in experts) == 3 * NUM_BLOCKS * 2 * 64
    result = json.loads((path.parent / "result.json").read_text())
    few = {(each["block"], each["name"].rpartition(".")[0]) for each in experts if each["statistic"] == "all"}
    assert any(f"{len(few)} of {NUM_BLOCKS * NUM_EXPERTS} experts" in warning for warning in result["warnings"])
    assert result["sparsity"]["reached"] == 0.5
    (page,) = tmp_path.glob("outputs/sweeps/*/report/index.html")
    assert f'"num_experts":{NUM_EXPERTS},' in page.read_text().replace(": ", ":")


def test_keys_that_do_not_go_together(compose_config: Compose) -> None:
    with pytest.raises(UserError, match=r"method\.min_tokens=0 is not possible: .* at least 1"):
        compose_config("method.min_tokens=0")
    with pytest.raises(UserError, match=r"experts=all and method\.router_weight=gate do not go together.*experts=routed"):
        compose_config("method.experts=all", "method.router_weight=gate")
