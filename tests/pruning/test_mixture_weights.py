"""A mixture with weighted parts, H = (1 - l) H_domain + l H_general: against the formula in float64; its identities."""

from typing import Any

import pytest
import torch
from torch import Tensor

from prune.calib.calibration_set import CalibrationSet
from prune.calib.mixing import scaled
from prune.models.blocks import weights_sha256
from prune.pruning.hidden_states import Walk
from prune.pruning.layerwise import prune_model
from prune.pruning.method import Method
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.wanda import InputNorms, Wanda
from prune.pruning.solver.hessian import Hessian
from prune.pruning.sparsity import Unstructured
from tests.architectures import CONFIGS, calibration, tiny_model
from tests.pruning.test_layerwise import naive_inputs

EACH = pytest.mark.parametrize("method", [Wanda(), RIA(), SparseGPT()], ids=lambda method: method.name)
PARTS_N = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])
HALVES_N = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])


def weighted_parts(parts_N: Tensor, domain: float, general: float) -> CalibrationSet:
    """8 x 16 tokens of two parts, the second of them with padding where the parts differ in size."""
    tokens_NL, real_NL = calibration(8, 16)
    real_NL = torch.ones_like(real_NL)
    if parts_N is PARTS_N:
        real_NL[3:, :5] = False
    weights_NL = scaled(real_NL.float(), parts_N, [domain, general])
    return CalibrationSet(tokens_NL, real_NL, weights_NL, parts_N=parts_N)


def pruned_model(made: CalibrationSet, method: Method) -> Any:
    model = tiny_model(CONFIGS["llama"]())
    prune_model(model, made, method, Unstructured(0.5), batch_size=4, seed=0)
    return model


def pruned(made: CalibrationSet, method: Method) -> str:
    return weights_sha256(pruned_model(made, method))


def are_alike(one: CalibrationSet, other: CalibrationSet, method: Method) -> bool:
    """Whether both give the same masks, and the same weights to rounding."""
    pairs = zip(pruned_model(one, method).parameters(), pruned_model(other, method).parameters(), strict=True)
    return all(torch.equal(a == 0, b == 0) and torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in pairs)


def part(made: CalibrationSet, number: int) -> CalibrationSet:
    """The set that the part is alone."""
    assert made.parts_N is not None
    rows = made.parts_N == number
    return CalibrationSet(made.tokens_NL[rows], made.real_NL[rows], made.real_NL[rows].float())


@EACH
def test_half_of_equal_numbers_of_tokens_is_the_concatenation(method: Method) -> None:
    tokens_NL, _ = calibration(8, 16)
    assert pruned(weighted_parts(HALVES_N, 0.5, 0.5), method) == pruned(CalibrationSet.of_tokens(tokens_NL), method)


@EACH
@pytest.mark.parametrize(("domain", "number"), [(1.0, 0), (0.0, 1)])
def test_a_weight_of_one_is_the_part_alone(method: Method, domain: float, number: int) -> None:
    made = weighted_parts(HALVES_N, domain, 1 - domain)
    assert are_alike(made, part(made, number), method)
    assert not are_alike(made, part(made, 1 - number), method)


@EACH
def test_swapped_parts_with_swapped_weights_are_the_same(method: Method) -> None:
    made = weighted_parts(PARTS_N, 0.3, 0.7)
    order = torch.tensor([3, 4, 5, 6, 7, 0, 1, 2])
    swapped_NL = scaled(made.real_NL[order].float(), 1 - PARTS_N[order], [0.7, 0.3])
    assert torch.equal(swapped_NL, made.weights_NL[order])
    swapped = CalibrationSet(made.tokens_NL[order], made.real_NL[order], swapped_NL)
    assert are_alike(swapped, made, method)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
@EACH
def test_statistics_are_the_weighted_means_of_the_parts(method: Method, share: float) -> None:
    """s_j = (1 - l) mean_d x_j^2 + l mean_g x_j^2, and H = (1 - l) 2/T_d X_d' X_d + l 2/T_g X_g' X_g, up to one factor."""
    made = weighted_parts(PARTS_N, 1 - share, share)
    model = tiny_model(CONFIGS["llama"]())
    linear = model.model.layers[0].mlp.down_proj
    with torch.no_grad():
        x_TI = naive_inputs(model, {"down": linear}, made.tokens_NL, made.real_NL)["down"].double()
        walk = Walk(model, made, batch_size=3)
        statistic = walk.collect(0, method)["mlp.down_proj"]
    assert len(x_TI) == int(made.real_NL.sum())
    of_part_T = PARTS_N[:, None].expand(8, 16)[made.real_NL]
    parts = [x_TI[of_part_T == number] for number in (0, 1)]
    if isinstance(statistic, Hessian):
        domain, general = (2 / len(x_TI) * x_TI.T @ x_TI for x_TI in parts)
        found, exact = statistic.hessian().double(), 1e-4
        torch.testing.assert_close(found, (1 - share) * domain + share * general, rtol=exact, atol=1e-5)
        return
    assert isinstance(statistic, InputNorms)
    domain, general = ((x_TI**2).mean(dim=0) for x_TI in parts)
    found = statistic.norms().double() ** 2 / int(made.real_NL.sum())
    torch.testing.assert_close(found, (1 - share) * domain + share * general, rtol=1e-4, atol=1e-8)
