"""What all methods share: the registry, untouched inputs, exact counts, unusable weights and statistics."""

import pytest
import torch
from torch import nn

from prune.config.method import MethodConfig
from prune.errors import UserError
from prune.pruning.method import Method
from prune.pruning.methods.admm import ADMM, ADMMConfig
from prune.pruning.methods.alps import ALPS, ALPSConfig
from prune.pruning.methods.dense import DenseConfig
from prune.pruning.methods.dsnot import DSnoT, DSnoTConfig
from prune.pruning.methods.magnitude import MagnitudeConfig
from prune.pruning.methods.nowag import NoWag, NoWagConfig
from prune.pruning.methods.random import RandomConfig
from prune.pruning.methods.ria import RIA, RIAConfig
from prune.pruning.methods.sparsegpt import SparseGPT, SparseGPTConfig
from prune.pruning.methods.start import Start
from prune.pruning.methods.swaps import Swaps, SwapsConfig
from prune.pruning.methods.wanda import Wanda, WandaConfig
from prune.pruning.registry import METHODS, build_method, needs_inputs
from prune.pruning.sparsity import NM, Pattern, Unstructured

CONFIGS: list[MethodConfig] = [
    DenseConfig(),
    MagnitudeConfig(),
    RandomConfig(),
    WandaConfig(),
    RIAConfig(),
    SparseGPTConfig(),
    ALPSConfig(),
    ADMMConfig(),
    DSnoTConfig(),
    SwapsConfig(),
    NoWagConfig(),
]
PRUNING = [build_method(config) for config in CONFIGS if config.name != "dense"]
OF_STARTS: list[Method] = [DSnoT(), DSnoT(start=Start.sparsegpt), Swaps()]
WITH_INPUTS: list[Method] = [NoWag(), Wanda(), RIA(), SparseGPT(), ALPS(), ADMM(), *OF_STARTS]


def name(method: Method) -> str:
    return method.name


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_configuration_has_its_method() -> None:
    assert set(METHODS) == {type(config) for config in CONFIGS}
    pruning = [config for config in CONFIGS if config.name != "dense"]
    assert [build_method(config).name for config in pruning] == [config.name for config in pruning]
    assert [build_method(config).needs_inputs for config in pruning] == [False, False, *[True] * 8]
    assert [needs_inputs(config) for config in CONFIGS] == [False, False, False, *[True] * 8]


def test_knobs_reach_the_method() -> None:
    assert build_method(WandaConfig(variant=True)) == Wanda(variant=True)
    assert build_method(SparseGPTConfig(damping=0.1, block_size=32)) == SparseGPT(damping=0.1, block_size=32)
    assert build_method(ALPSConfig(penalty=0.2, cg_steps=3)) == ALPS(penalty=0.2, cg_steps=3)
    assert build_method(ADMMConfig(iterations=9, mask_steps=4)) == ADMM(iterations=9, mask_steps=4)
    assert build_method(SwapsConfig(start=Start.ria, max_sweeps=3)) == Swaps(start=Start.ria, max_sweeps=3)
    assert build_method(DSnoTConfig(threshold=0.2, sum_over=1)) == DSnoT(threshold=0.2, sum_over=1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pattern", [Unstructured(0.5), Unstructured(0.3), NM(2, 4), NM(3, 6)], ids=str)
@pytest.mark.parametrize("method", PRUNING, ids=name)
def test_masked_weights_are_zero_and_the_input_is_left_alone(method: Method, pattern: Pattern, dtype: torch.dtype) -> None:
    weight_OI = nn.Parameter(torch.randn(10, 24, generator=generator()).to(dtype))
    before_OI = weight_OI.detach().clone()
    statistic = method.start_statistic(24, torch.device("cpu"))
    statistic.add(torch.randn(60, 24, generator=generator(1)).to(dtype))
    pruned = method.prune(weight_OI, statistic, pattern, generator())
    assert torch.equal(weight_OI.detach(), before_OI)
    assert not pruned.weight_OI.requires_grad
    assert pruned.weight_OI.dtype == dtype
    assert pruned.mask_OI.dtype == torch.bool
    assert bool((pruned.weight_OI[pruned.mask_OI] == 0).all())
    assert bool((pruned.weight_OI[~pruned.mask_OI] != 0).all())
    num_asked = {"0.3": 10 * int(24 * 0.3) if method.name in ("wanda", "dsnot", "swaps") else int(240 * 0.3), "0.5": 120}[
        str(pattern.ratio)
    ]
    assert int(pruned.mask_OI.sum()) == num_asked
    assert (pruned.error is None) == (not method.needs_inputs)


@pytest.mark.parametrize("method", PRUNING, ids=name)
def test_groups_that_do_not_fit_are_refused(method: Method) -> None:
    statistic = method.start_statistic(10, torch.device("cpu"))
    statistic.add(torch.randn(30, 10, generator=generator()))
    with pytest.raises(UserError, match=r"2:4 does not fit .* 10 inputs .* 2, 5, 10"):
        method.prune(torch.ones(3, 10), statistic, NM(2, 4), generator())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", [method for method in PRUNING if method.name != "random"], ids=name)
def test_unusable_weights_are_refused(method: Method, bad: float) -> None:
    statistic = method.start_statistic(4, torch.device("cpu"))
    statistic.add(torch.randn(9, 4, generator=generator()))
    weight_OI = torch.ones(2, 4)
    weight_OI[1, 2] = bad
    with pytest.raises(UserError, match="1 of 8 weights are infinite or not a number"):
        method.prune(weight_OI, statistic, Unstructured(0.5), generator())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", WITH_INPUTS, ids=name)
def test_unusable_statistics_are_refused(method: Method, bad: float) -> None:
    statistic = method.start_statistic(4, torch.device("cpu"))
    statistic.add(torch.tensor([[1.0, bad, 1.0, 1.0]]))
    with pytest.raises(UserError, match="inputs of this linear are infinite or not a number"):
        method.prune(torch.ones(2, 4), statistic, Unstructured(0.5), generator())


@pytest.mark.parametrize("method", WITH_INPUTS, ids=name)
def test_a_linear_that_saw_no_token_is_refused(method: Method) -> None:
    statistic = method.start_statistic(4, torch.device("cpu"))
    statistic.add(torch.ones(0, 4))
    with pytest.raises(UserError, match="no real token"):
        method.prune(torch.ones(2, 4), statistic, Unstructured(0.5), generator())


@pytest.mark.parametrize("method", WITH_INPUTS, ids=name)
@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=str)
def test_a_statistic_serves_several_linears_and_any_order_of_batches(method: Method, pattern: Pattern) -> None:
    x_TI = torch.randn(40, 8, dtype=torch.float64, generator=generator())
    weights = [torch.randn(5, 8, dtype=torch.float64, generator=generator(seed)) for seed in (1, 2)]
    shared, batched = (method.start_statistic(8, torch.device("cpu")) for _ in range(2))
    shared.add(x_TI)
    for batch_TI in (x_TI[30:], x_TI[:7], x_TI[7:30]):
        batched.add(batch_TI)
    for weight_OI in weights:
        alone = method.start_statistic(8, torch.device("cpu"))
        alone.add(x_TI)
        expected = method.prune(weight_OI, alone, pattern, generator())
        for statistic in (shared, batched):
            pruned = method.prune(weight_OI, statistic, pattern, generator())
            assert torch.equal(pruned.mask_OI, expected.mask_OI)
            torch.testing.assert_close(pruned.weight_OI, expected.weight_OI, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", WITH_INPUTS, ids=name)
def test_all_weights_zero_is_no_error(method: Method) -> None:
    statistic = method.start_statistic(4, torch.device("cpu"))
    statistic.add(torch.randn(9, 4, generator=generator()))
    pruned = method.prune(torch.zeros(2, 4), statistic, Unstructured(0.5), generator())
    assert int(pruned.mask_OI.sum()) == 4
    assert pruned.error == 0
