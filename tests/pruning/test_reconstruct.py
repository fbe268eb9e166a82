"""The refit of kept weights against a naive one, written from the paper's formula and run through the whole dense model."""

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from transformers import LlamaConfig, PretrainedConfig, PreTrainedModel, get_linear_schedule_with_warmup

from prune.calib.calibration_set import CalibrationSet
from prune.config.reconstruct import BlockReconstructConfig, Granularity, RefitInputs
from prune.errors import UserError
from prune.models.blocks import (
    count_sparsity,
    find_blocks,
    find_linears,
    held_by,
    named_linears,
    read_weight,
    weights_sha256,
)
from prune.models.offload import Mover, offload_blocks
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import check_reached, prune_model
from prune.pruning.linear_report import LinearReport, describe_refit
from prune.pruning.method import Method
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import Wanda
from prune.pruning.propagation import DenseInputs
from prune.pruning.reconstruct import Reconstruction, parts_of, rate_at
from prune.pruning.replay import hidden_of
from prune.pruning.sparsity import NM, Pattern, Unstructured
from tests.architectures import CONFIGS, VOCAB, calibration, calibration_set, tiny_model
from tests.mixtures import mixture

HALF = Unstructured(0.5)
FAST = BlockReconstructConfig(rate=3e-3, epochs=2)


def refit(
    model: PreTrainedModel,
    knobs: BlockReconstructConfig = FAST,
    calibration: CalibrationSet | None = None,
    method: Method | None = None,
    pattern: Pattern = HALF,
    **options: Any,
) -> list[LinearReport]:
    """Prune the model in place, by magnitude where nothing is said, and refit it."""
    calibration = calibration or calibration_set()

    def make(pruned: Iterable[str]) -> Reconstruction:
        return Reconstruction(model, calibration, knobs, pruned)

    options = {"batch_size": 4} | options
    inputs = options.pop("inputs", calibration)
    return prune_model(model, inputs, method or Magnitude(), pattern, reconstruction=make, **options)


# --- the naive twin ---


def block_inputs(model: PreTrainedModel, index: int, tokens_NL: Tensor) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The arguments of a block for each batch of two sequences, from a forward pass of the whole model."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    hook = find_blocks(model)[index].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
    )
    with torch.no_grad():
        for batch in tokens_NL.split(2):
            model.base_model(batch, use_cache=False)
    hook.remove()
    return seen


def naive_refit(dense: PreTrainedModel, knobs: BlockReconstructConfig, tokens_NL: Tensor) -> PreTrainedModel:
    """A copy, pruned by magnitude, in which each block minimises the mean squared error to the dense block's output."""
    model = copy.deepcopy(dense)
    is_dense = knobs.inputs is RefitInputs.dense
    for index, (block, dense_block) in enumerate(zip(find_blocks(model), find_blocks(dense), strict=True)):
        inputs = block_inputs(dense if is_dense else model, index, tokens_NL)
        with torch.no_grad():
            targets = [dense_block(*args, **kwargs) for args, kwargs in inputs]
        weights, linears = [], list(find_linears(block).values())
        for linear in linears:
            score = linear.weight.abs().flatten()
            kept = torch.ones(score.numel())
            kept[score.argsort(stable=True)[: score.numel() // 2]] = 0
            prune.custom_from_mask(linear, "weight", kept.view(linear.weight.shape))
            weights.append(linear.weight_orig)
        optimiser = torch.optim.AdamW(weights, lr=knobs.rate, weight_decay=0.0)
        num_steps = knobs.epochs * len(inputs)
        schedule = get_linear_schedule_with_warmup(optimiser, int(0.1 * num_steps), num_steps)
        for step in range(num_steps):
            args, kwargs = inputs[step % len(inputs)]
            nn.functional.mse_loss(block(*args, **kwargs), targets[step % len(inputs)]).backward()
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
        for linear in linears:
            prune.remove(linear, "weight")
    return model


@pytest.mark.parametrize("inputs", RefitInputs)
def test_a_block_learns_what_a_naive_refit_learns(inputs: RefitInputs) -> None:
    model = tiny_model(CONFIGS["llama"]()).double()
    tokens_NL = calibration()[0]
    twin = naive_refit(model, replace(FAST, inputs=inputs), tokens_NL)
    dense = copy.deepcopy(model)
    refit(model, replace(FAST, inputs=inputs))
    for name, linear in named_linears(twin).items():
        found, before = named_linears(model)[name].weight, named_linears(dense)[name].weight
        torch.testing.assert_close(found, linear.weight, rtol=1e-7, atol=1e-9)
        assert (found - before)[found != 0].abs().max() > 1e-3, "it has moved"


def test_parts_learn_each_by_itself_what_it_gave_when_dense() -> None:
    """The residual is the same on both sides, so the part's own output is all there is to match."""
    dense, model = tiny_model(CONFIGS["llama"]()).double(), tiny_model(CONFIGS["llama"]()).double()
    knobs = replace(FAST, granularity=Granularity.submodules)
    refit(model, knobs)
    tokens_NL = calibration()[0]
    for index, name in ((0, "mlp"), (2, "self_attn")):
        block, pruned = find_blocks(dense)[index], copy.deepcopy(find_blocks(dense)[index])
        for linear in find_linears(pruned).values():
            lowest = linear.weight.detach().abs().flatten().argsort(stable=True)[: linear.weight.numel() // 2]
            linear.weight.data.view(-1)[lowest] = 0
        part, seen, inputs = block.get_submodule(name), [], block_inputs(dense, index, tokens_NL)
        hook = part.register_forward_hook(
            lambda _, args, kwargs, out, to=seen: to.append((args, kwargs, out)), with_kwargs=True
        )
        for args, kwargs in inputs:
            with torch.no_grad():
                block(*args, **kwargs)
        hook.remove()
        trained = [each.weight for key, each in find_linears(pruned).items() if key.startswith(name)]
        kept = [weight.detach() != 0 for weight in trained]
        optimiser = torch.optim.AdamW(trained, lr=knobs.rate, weight_decay=0.0)
        schedule = get_linear_schedule_with_warmup(optimiser, int(0.2 * len(seen)), 2 * len(seen))
        for args, kwargs, out in seen * 2:
            target, made = (
                each if isinstance(each, Tensor) else each[0] for each in (out, pruned.get_submodule(name)(*args, **kwargs))
            )
            nn.functional.mse_loss(made, target).backward()
            for weight, kept_OI in zip(trained, kept, strict=True):
                weight.grad *= kept_OI
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
        own = find_linears(find_blocks(model)[index])
        for key, each in find_linears(pruned).items():
            if key.startswith(name):
                torch.testing.assert_close(own[key].weight, each.weight, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("num_steps", [1, 3, 10, 64])
def test_the_rate_is_that_of_the_published_schedule(num_steps: int) -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_linear_schedule_with_warmup(optimiser, int(0.1 * num_steps), num_steps)
    for step in range(num_steps):
        assert rate_at(step, num_steps) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()


FUSED = ("mixtral", "gpt_oss", "qwen2_moe", "nemotron_h")
"""Layouts: plain; transposed, gate and up in turn, with biases; beside a shared expert; without a gate."""


def naive_refit_of_experts(dense: PreTrainedModel, knobs: BlockReconstructConfig) -> PreTrainedModel:
    """As `naive_refit`, with transformers' own forward of the experts; masks by copies of each matrix."""
    model = copy.deepcopy(dense)
    for index, (block, dense_block) in enumerate(zip(find_blocks(model), find_blocks(dense), strict=True)):
        inputs = block_inputs(dense, index, calibration()[0])
        with torch.no_grad():
            targets = [hidden_of(dense_block(*args, **kwargs)) for args, kwargs in inputs]
        for matrix in find_linears(block).values():
            weight_OI = read_weight(matrix).clone(memory_format=torch.contiguous_format)
            weight_OI.view(-1)[weight_OI.abs().flatten().argsort(stable=True)[: weight_OI.numel() // 2]] = 0
            read_weight(matrix).copy_(weight_OI)
        ours = {id(held_by(matrix)) for matrix in find_linears(block).values()}
        trained = [parameter for parameter in block.parameters() if id(parameter) in ours]
        kept = [parameter.detach() != 0 for parameter in trained]
        optimiser = torch.optim.AdamW(trained, lr=knobs.rate, weight_decay=0.0)
        schedule = get_linear_schedule_with_warmup(
            optimiser, int(0.1 * knobs.epochs * len(inputs)), knobs.epochs * len(inputs)
        )
        for (args, kwargs), target in list(zip(inputs, targets, strict=True)) * knobs.epochs:
            nn.functional.mse_loss(hidden_of(block(*args, **kwargs)), target).backward()
            for parameter, mask in zip(trained, kept, strict=True):
                parameter.grad *= mask
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
    return model


@pytest.mark.parametrize("kind", FUSED)
def test_experts_in_one_tensor_learn_what_a_naive_refit_learns(kind: str) -> None:
    model = tiny_model(mixture(kind)).double()
    model.set_experts_implementation("eager")  # of transformers' own the one that takes float64
    twin, dense = naive_refit_of_experts(model, FAST), copy.deepcopy(model)
    reports = refit(model)
    for name, linear in named_linears(twin).items():
        found, before = named_linears(model)[name].weight, named_linears(dense)[name].weight
        torch.testing.assert_close(found, linear.weight, rtol=1e-6, atol=1e-8)
        assert int((found == 0).sum()) >= found.numel() // 2
        assert (found - before)[found != 0].abs().max() > 1e-4 or ".experts." in name, "it has moved"
    moved = [name for name in named_linears(model) if ".experts." in name and _moved(model, dense, name)]
    assert moved and all(report.block_error < report.block_error_pruned for report in reports)


def _moved(model: PreTrainedModel, dense: PreTrainedModel, name: str) -> bool:
    found, before = named_linears(model)[name].weight, named_linears(dense)[name].weight
    return bool((found - before)[found != 0].abs().max() > 1e-4)


@pytest.mark.parametrize("granularity", Granularity)
def test_experts_that_are_not_pruned_stay_as_they_are(granularity: Granularity) -> None:
    model = tiny_model(mixture("mixtral"))
    dense = copy.deepcopy(model)
    chosen = {name: HALF for name in named_linears(model) if ".experts." not in name or ".experts.1." in name}
    refit(model, replace(FAST, granularity=granularity), pattern=chosen)
    for name, linear in named_linears(model).items():
        same = torch.equal(linear.weight, named_linears(dense)[name].weight)
        assert same == (name not in chosen), name
    biases = {
        name: value for name, value in model.named_parameters() if "router" in name or ".gate." in name or "norm" in name
    }
    assert biases and all(torch.equal(value, dict(dense.named_parameters())[name]) for name, value in biases.items())


# --- what stays, and what falls ---


def errors_of(model: PreTrainedModel, dense: PreTrainedModel, held_out: CalibrationSet) -> list[float]:
    """Squared error of each block relative to the dense one, on the dense model's own hidden states of other tokens."""
    found = []
    for index, (block, whole) in enumerate(zip(find_blocks(model), find_blocks(dense), strict=True)):
        inputs = block_inputs(dense, index, held_out.tokens_NL)
        with torch.no_grad():
            pairs = [(block(*args, **kwargs), whole(*args, **kwargs)) for args, kwargs in inputs]
        found.append(sum(float((a - b).square().sum()) for a, b in pairs) / sum(float(b.square().sum()) for _, b in pairs))
    return found


def test_the_error_on_held_out_tokens_falls_in_every_block() -> None:
    """By magnitude, Wanda and SparseGPT, whose weights were fitted already."""
    settings = LlamaConfig(**CONFIGS["llama"]().to_dict() | {"hidden_size": 32, "intermediate_size": 64})
    many, held_out = calibration_set(32, 24), CalibrationSet.of_tokens(calibration(40, 24)[0][32:])
    for method in (Magnitude(), Wanda(), SparseGPT()):
        dense, pruned, model = (tiny_model(settings) for _ in range(3))
        prune_model(pruned, many, method, HALF, batch_size=8)
        reports = refit(model, replace(FAST, rate=2e-3, batch_size=8, epochs=5), many, method)
        before, after = errors_of(pruned, dense, held_out), errors_of(model, dense, held_out)
        assert all(new < 0.95 * old for old, new in zip(before, after, strict=True)), (method.name, before, after)
        assert all(0 < report.block_error < report.block_error_pruned for report in reports)


@pytest.mark.parametrize("pattern", [HALF, NM(2, 4)], ids=str)
def test_zeros_stay_exactly_as_they_were_and_nothing_else_becomes_one(pattern: Pattern) -> None:
    pruned, model = tiny_model(CONFIGS["llama"]()), tiny_model(CONFIGS["llama"]())
    for each in (pruned, model):  # zeros that the model came with, which the mask need not contain
        find_linears(find_blocks(each)[0])["mlp.up_proj"].weight.data[:, 3] = 0
    prune_model(pruned, calibration_set(), SparseGPT(), pattern, batch_size=4)
    reports = refit(model, replace(FAST, granularity=Granularity.submodules), method=SparseGPT(), pattern=pattern)
    check_reached(pattern, SparseGPT(), reports)
    first = [name for name in named_linears(model) if name.startswith("0.")]
    for name in first:  # later blocks are pruned by other inputs
        assert torch.equal(named_linears(model)[name].weight == 0, named_linears(pruned)[name].weight == 0)
    assert count_sparsity(model)[0] == sum(report.num_zero for report in reports)
    dense = tiny_model(CONFIGS["llama"]())
    others = {name for name in model.state_dict() if not name.endswith("_proj.weight")}
    assert all(torch.equal(model.state_dict()[name], dense.state_dict()[name]) for name in others)
    assert not any(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_masks_of_dense_propagation_are_those_without_a_refit() -> None:
    """Statistics come from the dense model, which no refit changes; those of pruned blocks come from refitted ones."""

    def masks(refits: bool, propagates_dense: bool) -> dict[str, Tensor]:
        model, found = tiny_model(CONFIGS["llama"]()), {}
        inputs = (
            DenseInputs(Walk(model, calibration_set(), batch_size=4), Wanda()) if propagates_dense else calibration_set()
        )
        keep: Callable[[int, str, Tensor], None] = lambda block, name, mask_OI: found.update({f"{block}.{name}": mask_OI})  # noqa: E731
        if refits:
            refit(model, replace(FAST, rate=1e-2), method=Wanda(), inputs=inputs, on_mask=keep)
        else:
            prune_model(model, inputs, Wanda(), HALF, batch_size=4, on_mask=keep)
        return found

    alone, refitted = masks(False, True), masks(True, True)
    assert all(torch.equal(mask_OI, refitted[name]) for name, mask_OI in alone.items())
    alone, refitted = masks(False, False), masks(True, False)
    assert all(torch.equal(mask_OI, refitted[name]) for name, mask_OI in alone.items() if name.startswith("0."))
    assert not all(torch.equal(mask_OI, refitted[name]) for name, mask_OI in alone.items())


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "opt", "gpt2", "pythia", "phi3", "falcon_7b"])
def test_architectures_of_all_kinds_are_refitted(architecture: str) -> None:
    """A part that is called again with what it saw gives what it gave; where linears lie in no part, blocks alone can be."""
    for granularity in Granularity:
        model = tiny_model(CONFIGS[architecture]())
        if granularity is Granularity.submodules and "opt" in architecture:
            with pytest.raises(UserError, match=r"submodules: fc1 of block 0 lies in no part .*granularity=block"):
                refit(model, replace(FAST, granularity=granularity))
            continue
        reports = refit(model, replace(FAST, granularity=granularity), calibration_set(4))
        found = describe_refit(reports)
        assert found is not None and found["block_error"] < found["block_error_pruned"]


def test_padding_never_counts() -> None:
    tokens_NL, mask_NL = calibration(padded=True)
    hashes = set()
    for pad in (0, VOCAB - 1):
        model = tiny_model(CONFIGS["llama"]())
        refit(model, calibration=CalibrationSet.of_tokens(tokens_NL.masked_fill(~mask_NL, pad), mask_NL))
        hashes.add(weights_sha256(model))
    assert len(hashes) == 1


def test_a_token_counts_as_the_set_says() -> None:
    """A sequence that counts 0 might as well not be there, but for its step."""
    tokens_NL, real_NL = calibration(4)
    weights_NL = real_NL.float()
    weights_NL[1::2] = 0
    models = []
    for other in (tokens_NL, tokens_NL.flip(1)):
        mixed = torch.where(weights_NL > 0, tokens_NL, other)
        models.append(tiny_model(CONFIGS["llama"]()))
        refit(models[-1], calibration=CalibrationSet(mixed, real_NL, weights_NL))
    for name, linear in named_linears(models[0]).items():
        torch.testing.assert_close(linear.weight, named_linears(models[1])[name].weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("make", [CONFIGS["llama"], partial(mixture, "mixtral")], ids=["llama", "mixtral"])
def test_weights_in_16_bits_are_trained_in_32(make: Callable[[], PretrainedConfig], dtype: torch.dtype) -> None:
    """Steps far below the resolution of the type add up."""
    dense, model = tiny_model(make()).to(dtype), tiny_model(make()).to(dtype)
    reports = refit(model, replace(FAST, rate=2e-4, epochs=5))
    assert all(parameter.dtype == dtype for parameter in model.parameters())
    check_reached(HALF, Magnitude(), reports)
    assert all(report.block_error < report.block_error_pruned for report in reports)
    moved = [
        (new.weight != old.weight)[new.weight != 0]
        for new, old in zip(named_linears(model).values(), named_linears(dense).values(), strict=True)
    ]
    assert all(each.float().mean() > 0.2 for each in moved)


def test_linears_that_are_left_dense_stay_and_blocks_without_pruned_ones_pass() -> None:
    dense, model = tiny_model(CONFIGS["llama"]()), tiny_model(CONFIGS["llama"]())
    chosen = {name: HALF for name in named_linears(model) if name.startswith("1.mlp")}
    reports = refit(model, pattern=chosen)
    for name, linear in named_linears(model).items():
        assert torch.equal(linear.weight, named_linears(dense)[name].weight) == (name not in chosen)
    assert {report.block for report in reports if report.block_error is not None} == {1}
    assert describe_refit([report for report in reports if report.block != 1]) is None


def test_two_runs_are_equal_and_offloaded_blocks_give_the_same_bits() -> None:
    hashes = set()
    for offloads in (False, False, True):
        model = tiny_model(CONFIGS["llama"]())
        if offloads:
            offload_blocks(model, find_blocks(model), Mover(torch.device("cpu")))
        refit(model, replace(FAST, granularity=Granularity.submodules), method=Wanda())
        hashes.add(weights_sha256(model))
    assert len(hashes) == 1


def test_reports_hold_errors_and_seconds_of_each_block() -> None:
    reports = refit(tiny_model(CONFIGS["gpt2"]()))
    for index in range(3):
        own = [report for report in reports if report.block == index]
        assert len({(report.block_error_pruned, report.block_error) for report in own}) == 1
        assert own[0].refit_seconds > 0 and not any(report.refit_seconds for report in own[1:])
    found = describe_refit(reports)
    assert found is not None
    assert found["block_error"] == pytest.approx(sum(report.block_error for report in reports) / len(reports))


def test_a_rate_that_is_too_high_says_so() -> None:
    model = tiny_model(CONFIGS["llama"]())
    with pytest.raises(
        UserError, match=r"reconstruct\.rate=1e\+30: .* of block 0.* Give a lower rate, as in reconstruct.rate=1e\+29"
    ):
        refit(model, replace(FAST, rate=1e30))


@pytest.mark.parametrize("knobs", [{"epochs": 0}, {"rate": 0.0}, {"rate": -1.0}, {"rate": math.nan}, {"batch_size": 0}])
def test_knobs_that_cannot_be(knobs: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"reconstruct\.{next(iter(knobs))}=.* is not possible: it must be"):
        BlockReconstructConfig(**knobs)


def test_a_weight_in_one_tensor_with_others_is_refused_before_anything_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(CONFIGS["llama"]())
    sha256 = weights_sha256(model)
    view = nn.Linear(4, 4)
    view.weight = nn.Parameter(torch.ones(2, 4, 4)[0])
    monkeypatch.setattr("prune.pruning.reconstruct.find_linears", lambda block: dict.fromkeys(find_linears(block), view))
    with pytest.raises(UserError, match=r"cannot refit 0\.self_attn\.q_proj: its weight lies in one tensor with others"):
        refit(model)
    assert weights_sha256(model) == sha256


def test_parts_are_the_modules_right_below_the_block() -> None:
    names = ["self_attn.q_proj", "self_attn.o_proj", "mlp.experts.up"]
    assert parts_of(names, Granularity.block, "") == {"": names}
    assert parts_of(names, Granularity.submodules, "") == {"self_attn": names[:2], "mlp": names[2:]}
    assert read_weight(nn.Linear(2, 3)).shape == (3, 2)
