"""What a token counts: statistics against their formulas in float64, and the walk that hands the weights out."""

import pytest
import torch
from torch import Tensor

from prune.calib.calibration_set import CalibrationSet
from prune.errors import UserError
from prune.models.blocks import weights_sha256
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import prune_model
from prune.pruning.method import Keepable, Method
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import InputNorms, Wanda
from prune.pruning.owl import owl_ratios
from prune.pruning.propagation import collect_all, kind_of
from prune.pruning.solver.hessian import Hessian
from prune.pruning.sparsity import NM, Pattern, Unstructured
from tests.architectures import CONFIGS, calibration, tiny_model
from tests.pruning.test_layerwise import naive_inputs

METHODS: list[Method] = [Wanda(), RIA(), SparseGPT()]
EACH = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])


def inputs_and_weights(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(40, 6, generator=generator).to(dtype), torch.rand(40, generator=generator) * 5


def value(statistic: object) -> Tensor:
    """What the method reads of it."""
    if isinstance(statistic, Hessian):
        return statistic.hessian()
    assert isinstance(statistic, InputNorms)
    return statistic.norms()


def naive(statistic: object, x_TI: Tensor, weight_T: Tensor) -> Tensor:
    """sqrt(sum_t w_t x_tj^2), or 2 / sum_t w_t * sum_t w_t x_t x_t^T, token by token in float64."""
    if isinstance(statistic, InputNorms):
        squares = [float(weight) * x_I.double() ** 2 for x_I, weight in zip(x_TI, weight_T, strict=True)]
        return torch.stack(squares).sum(dim=0).sqrt()
    products = [float(weight) * torch.outer(x_I.double(), x_I.double()) for x_I, weight in zip(x_TI, weight_T, strict=True)]
    return torch.stack(products).sum(dim=0) * 2 / float(weight_T.double().sum())


@DTYPES
@EACH
def test_statistics_are_the_weighted_sums(method: Method, dtype: torch.dtype) -> None:
    x_TI, weight_T = inputs_and_weights(dtype)
    statistic = method.start_statistic(6, torch.device("cpu"))
    statistic.add(x_TI[:15], weight_T[:15])
    statistic.add(x_TI[15:], weight_T[15:])
    expected = naive(statistic, x_TI, weight_T)
    exact = {"rtol": 1e-7, "atol": 1e-7} if dtype is torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(value(statistic).double(), expected, **exact)


@EACH
def test_whole_weights_are_so_many_copies_of_a_token(method: Method) -> None:
    x_TI, _ = inputs_and_weights()
    weight_T = torch.arange(40) % 4 + 1
    weighted, repeated = (method.start_statistic(6, torch.device("cpu")) for _ in range(2))
    weighted.add(x_TI, weight_T.float())
    repeated.add(x_TI.repeat_interleave(weight_T, dim=0))
    torch.testing.assert_close(value(weighted), value(repeated), rtol=1e-6, atol=1e-6)


def weighted_set(weights_NL: Tensor) -> CalibrationSet:
    tokens_NL, real_NL = calibration(8, 16)
    return CalibrationSet(tokens_NL, real_NL, weights_NL)


def random_weights() -> Tensor:
    """0 to 4, about every fourth 0."""
    drawn_NL = torch.rand(8, 16, generator=torch.Generator().manual_seed(5)) * 5 - 1
    return drawn_NL.clamp(min=0)


@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=str)
@EACH
def test_weights_of_1_are_no_weights_and_a_common_factor_changes_no_weight(method: Method, pattern: Pattern) -> None:
    def pruned(made: CalibrationSet) -> str:
        model = tiny_model(CONFIGS["llama"]())
        prune_model(model, made, method, pattern, batch_size=3, seed=0)
        return weights_sha256(model)

    tokens_NL, _ = calibration(8, 16)
    assert pruned(weighted_set(torch.ones(8, 16))) == pruned(CalibrationSet.of_tokens(tokens_NL))
    weights_NL = random_weights()
    assert pruned(weighted_set(weights_NL)) == pruned(weighted_set(4 * weights_NL))
    assert pruned(weighted_set(weights_NL)) != pruned(CalibrationSet.of_tokens(tokens_NL))


@EACH
def test_the_walk_weights_the_inputs_of_every_linear_and_attends_to_all_tokens(method: Method) -> None:
    """A token of weight 0 is left out of the statistics, and seen by the tokens after it."""
    weights_NL = random_weights()
    made = weighted_set(weights_NL)
    model = tiny_model(CONFIGS["llama"]())
    linears = {"q": model.model.layers[1].self_attn.q_proj, "down": model.model.layers[1].mlp.down_proj}
    with torch.no_grad():
        inputs = naive_inputs(model, linears, made.tokens_NL, made.real_NL)
        walk = Walk(model, made, batch_size=3)
        walk.advance(0)
        statistics = walk.collect(1, method)
    for name, place in (("q", "self_attn.q_proj"), ("down", "mlp.down_proj")):
        expected = naive(statistics[place], inputs[name], weights_NL.flatten())
        torch.testing.assert_close(value(statistics[place]).double(), expected, rtol=1e-4, atol=1e-5)


def test_statistics_that_are_kept_for_several_methods_are_weighted_too() -> None:
    made = weighted_set(random_weights())
    model = tiny_model(CONFIGS["llama"]())
    with torch.no_grad():
        kept = collect_all(Walk(model, made, batch_size=3), METHODS)
        for method in (Wanda(), SparseGPT()):
            alone = Walk(model, made, batch_size=3).collect(0, method)
            for name, statistic in alone.items():
                shared: Keepable = kept[kind_of(method)][0][name]
                assert torch.equal(value(shared), value(statistic))


def test_owl_counts_outliers_of_weighted_scores() -> None:
    targets = {0: ["self_attn.q_proj"], 2: ["mlp.up_proj"]}
    asked = {"multiple": 2.0, "spread": 0.08, "batch_size": 3}
    one_token_NL = torch.zeros(8, 16)
    one_token_NL[2, 5] = 3.0
    ratios = [
        owl_ratios(tiny_model(CONFIGS["llama"]()), weighted_set(weights_NL), targets, 0.5, **asked)  # type: ignore[arg-type]
        for weights_NL in (torch.ones(8, 16), one_token_NL, 4 * one_token_NL)
    ]
    assert ratios[1] == ratios[2] != ratios[0]


def test_a_set_in_which_nothing_counts_is_refused() -> None:
    with pytest.raises(UserError, match="no real token of the calibration set reached this linear"):
        prune_model(tiny_model(CONFIGS["llama"]()), weighted_set(torch.zeros(8, 16)), Wanda(), Unstructured(0.5))
