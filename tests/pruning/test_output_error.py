"""The one error of all methods: what it is, where it is measured, and that measuring changes no weight."""

import pytest
import torch

from prune.config.method import MethodConfig
from prune.models.blocks import named_linears, read_weight
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import prune_model
from prune.pruning.linear_report import LinearReport
from prune.pruning.measured import BesideHessian, Measured
from prune.pruning.method import Method
from prune.pruning.methods.admm import ADMM
from prune.pruning.methods.alps import ALPS
from prune.pruning.methods.magnitude import Magnitude, MagnitudeConfig
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.sparsegpt import SparseGPT, SparseGPTConfig
from prune.pruning.methods.swaps import Swaps, SwapsConfig
from prune.pruning.methods.wanda import Wanda, WandaConfig
from prune.pruning.propagation import KeptInputs, collect_all, kind_of
from prune.pruning.registry import METHODS, build_method, gathers_hessian, needs_inputs
from prune.pruning.solver.hessian import Hessian
from prune.pruning.sparsity import Unstructured
from tests.pruning.methods.test_sparsegpt import make_inputs, make_weight
from tests.pruning.test_layerwise import CONFIGS, calibration_set, tiny_model

HALF = Unstructured(0.5)
GATHER: list[Method] = [SparseGPT(), ALPS(), ADMM()]
DO_NOT: list[Method] = [Magnitude(), Wanda(), RIA()]


def name(method: Method) -> str:
    return method.name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_it_is_the_squared_error_of_the_outputs_over_the_squared_outputs(dtype: torch.dtype) -> None:
    x_TI, dense_OI = make_inputs(24, torch.float64), make_weight(6, 24, dtype)
    final_OI = (dense_OI + 0.3 * make_weight(6, 24, dtype, seed=5)).to(dtype)
    statistic = Hessian(24, torch.device("cpu"))
    statistic.add(x_TI)
    error_TO, output_TO = x_TI @ (final_OI.double() - dense_OI.double()).T, x_TI @ dense_OI.double().T
    expected = float(error_TO.square().sum() / output_TO.square().sum())
    assert statistic.output_error(dense_OI, final_OI) == pytest.approx(expected, rel=1e-5)
    assert statistic.output_error(dense_OI, final_OI, "q") == statistic.output_error(dense_OI, final_OI)
    assert statistic.output_error(dense_OI, dense_OI) == 0
    assert statistic.output_error(0 * dense_OI, 0 * dense_OI) == 0


def pruned(method: Method) -> tuple[list[LinearReport], dict[str, torch.Tensor]]:
    model = tiny_model(CONFIGS["llama"]())
    reports = prune_model(model, calibration_set(), method, HALF, batch_size=5)
    return reports, {key: read_weight(linear).clone() for key, linear in named_linears(model).items()}


@pytest.mark.parametrize("method", [*GATHER, Swaps(max_sweeps=3)], ids=name)
def test_methods_with_the_hessian_always_have_it(method: Method) -> None:
    reports, _ = pruned(method)
    for report in reports:
        assert report.output_error == pytest.approx(report.error, rel=1e-3) and report.output_error


@pytest.mark.parametrize("method", DO_NOT, ids=name)
def test_others_have_it_on_request_and_prune_as_they_did(method: Method) -> None:
    plain, weights = pruned(method)
    measured, same = pruned(Measured(method))
    assert all(torch.equal(weights[key], same[key]) for key in weights)
    assert {report.output_error for report in plain} == {None}
    assert [report.error for report in measured] == [report.error for report in plain]
    assert all(report.output_error is not None and 0 < report.output_error < 1 for report in measured)


def test_solvers_have_less_of_it_than_methods_that_only_mask() -> None:
    means = {}
    for method in (*GATHER, *map(Measured, DO_NOT)):
        errors = [report.output_error for report in pruned(method)[0] if report.output_error is not None]
        means[method.name] = sum(errors) / len(errors)
    assert max(means[solver.name] for solver in GATHER) < min(means[other.name] for other in DO_NOT)


def test_one_pass_over_the_dense_model_serves_all_methods() -> None:
    """Those with the Hessian share it; a method that only its error needs one for has both in one statistic."""
    methods: list[Method] = [*GATHER, Measured(Magnitude()), Measured(Wanda()), Measured(RIA())]
    assert {kind_of(method) for method in (*GATHER, Measured(Magnitude()))} == {Hessian}
    assert kind_of(Measured(Wanda())) is kind_of(Measured(RIA())) and issubclass(kind_of(Measured(Wanda())), BesideHessian)
    model = tiny_model(CONFIGS["llama"]())
    kept = collect_all(Walk(model, calibration_set(), batch_size=5), methods)
    assert len(kept) == 2
    inputs = KeptInputs(model, kept[kind_of(Measured(Wanda()))])
    reports = prune_model(model, inputs, Measured(Wanda()), HALF, batch_size=5)
    assert all(report.output_error for report in reports)


@pytest.mark.parametrize("config", [config for config, method in METHODS.items() if method], ids=str)
def test_those_that_say_so_gather_it(config: type[MethodConfig]) -> None:
    statistic = build_method(config()).start_statistic(4, torch.device("cpu"))
    assert gathers_hessian(config()) == isinstance(statistic, Hessian)


def test_the_knob_makes_a_method_look_at_inputs_where_it_must() -> None:
    assert build_method(MagnitudeConfig(output_error=True)) == Measured(Magnitude())
    assert build_method(WandaConfig(output_error=True)) == Measured(Wanda())
    assert build_method(WandaConfig()) == Wanda()
    assert build_method(SparseGPTConfig(output_error=True)) == SparseGPT()
    assert build_method(SwapsConfig(output_error=True)) == Swaps()
    assert needs_inputs(MagnitudeConfig(output_error=True)) and not needs_inputs(MagnitudeConfig())
