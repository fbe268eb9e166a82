"""A twin of a mixture whose experts are linears of their own, pruned by hooks, one linear at a time."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers import PreTrainedModel

from prune.config.method import ExpertTokens, RouterWeight
from prune.models.blocks import find_blocks, find_linears, named_linears, read_weight
from prune.models.experts import is_fused
from prune.pruning.expert_inputs import ExpertRule
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.linear_report import LinearReport
from prune.pruning.method import Method
from prune.pruning.sparsity import Pattern, Unstructured
from tests.architectures import calibration, calibration_set, tiny_model
from tests.mixtures import NUM_EXPERTS, mixture

HALF = Unstructured(0.5)
USUAL = ExpertRule()
ROUTED = ExpertRule(min_tokens=1)
ALL = ExpertRule(ExpertTokens.all)
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


def pruned(model: PreTrainedModel, method: Method, rule: ExpertRule = USUAL, **options: Any) -> list[LinearReport]:
    options = {"given": calibration_set(padded=True), "batch_size": 2, "experts": rule} | options
    reports = prune_model(model, options.pop("given"), method, HALF, **options)
    check_reached(HALF, method, reports)
    return reports
