"""ADMM against a naive twin in float64."""

import pytest
import torch
from torch import Tensor

from prune.errors import UserError
from prune.pruning.methods.admm import ADMM, ADMMConfig
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.sparsity import NM, Pattern, Unstructured
from tests.pruning.methods.test_alps import FLOAT64, PATTERNS, hessian_of
from tests.pruning.methods.test_sparsegpt import lowest, make_inputs, make_weight


def naive_mask(size_OI: Tensor, pattern: Pattern, share: float) -> Tensor:
    """`share` of what goes in the end: the smallest of the matrix, or of those that are the N smallest of their group."""
    num = int(size_OI.numel() * pattern.ratio * share)
    if isinstance(pattern, NM):
        candidates = [lowest(group, pattern.n) for group in size_OI.reshape(-1, pattern.m)]
        size_OI = size_OI.masked_fill(~torch.stack(candidates).view(size_OI.shape), torch.inf)
    return lowest(size_OI, num)


def naive_prune(weight_OI: Tensor, x_TI: Tensor, pattern: Pattern, knobs: ADMM) -> tuple[Tensor, Tensor]:
    """(new weights, mask): the paper's W, Z and U, one formula a line."""
    hessian_II = x_TI.T @ x_TI
    norm_I = hessian_II.diagonal().sqrt()
    hessian_II = hessian_II / norm_I / norm_I[:, None] + knobs.damping * torch.eye(len(norm_I), dtype=FLOAT64)
    inverse_II = torch.linalg.inv(hessian_II + knobs.penalty * torch.eye(len(norm_I), dtype=FLOAT64))
    start_OI = weight_OI * norm_I
    w_OI, u_OI, mask_OI = start_OI, torch.zeros_like(start_OI), naive_mask(start_OI.abs(), pattern, 1)
    for step in range(1, knobs.iterations + 1):
        if step <= knobs.mask_steps:
            mask_OI = naive_mask((w_OI + u_OI).abs(), pattern, 1 - (1 - step / knobs.mask_steps) ** 3)
        z_OI = (w_OI + u_OI) * ~mask_OI
        u_OI = u_OI + (w_OI - z_OI)
        w_OI = (start_OI @ hessian_II + knobs.penalty * (z_OI - u_OI)) @ inverse_II
    return (w_OI + u_OI) * ~mask_OI / norm_I, mask_OI


@pytest.mark.parametrize(
    "knobs", [ADMM(), ADMM(0.3, 2.0, 7, 3), ADMM(mask_steps=0), ADMM(iterations=1, mask_steps=1)], ids=str
)
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_masks_and_weights_are_those_of_the_naive_twin(pattern: Pattern, knobs: ADMM) -> None:
    weight_OI, x_TI = make_weight(14, 36, FLOAT64), make_inputs(36, FLOAT64)
    before_OI = weight_OI.clone()
    pruned = knobs.prune(weight_OI, hessian_of(x_TI), pattern, torch.Generator())
    expected_OI, mask_OI = naive_prune(before_OI, x_TI, pattern, knobs)
    assert torch.equal(weight_OI, before_OI)
    assert torch.equal(pruned.mask_OI, mask_OI)
    torch.testing.assert_close(pruned.weight_OI, expected_OI, rtol=1e-9, atol=1e-9)
    change_TO = x_TI @ (pruned.weight_OI - before_OI).T
    assert pruned.error == pytest.approx(float(change_TO.square().sum() / (x_TI @ before_OI.T).square().sum()))


def test_the_authors_code_takes_the_asked_ratio_in_every_step_of_a_matrix() -> None:
    """With one step there is nothing to grow; groups grow either way."""
    weight_OI, x_TI = make_weight(9, 40, FLOAT64), make_inputs(40, FLOAT64)

    def masks(pattern: Pattern, mask_steps: int) -> list[Tensor]:
        methods = [ADMM(mask_steps=mask_steps, authors_code=authors_code) for authors_code in (False, True)]
        return [method.prune(weight_OI, hessian_of(x_TI), pattern, torch.Generator()).mask_OI for method in methods]

    assert torch.equal(*masks(Unstructured(0.5), 1))
    assert not torch.equal(*masks(Unstructured(0.5), 15))
    assert torch.equal(*masks(NM(2, 4), 15))


@pytest.mark.parametrize("pattern", [Unstructured(0.7), NM(2, 4)], ids=str)
def test_the_error_is_below_sparsegpts(pattern: Pattern) -> None:
    weight_OI, x_TI = make_weight(24, 96, torch.float32), make_inputs(96, torch.float32)
    best = SparseGPT().prune(weight_OI, hessian_of(x_TI), pattern, torch.Generator()).error
    found = ADMM().prune(weight_OI, hessian_of(x_TI), pattern, torch.Generator()).error
    assert found is not None and best is not None and found < best


def test_linears_with_the_same_inputs_are_solved_as_if_alone() -> None:
    x_TI, patterns = make_inputs(48, FLOAT64), [Unstructured(0.5), Unstructured(0.8)]
    weights = {name: make_weight(rows, 48, FLOAT64) for name, rows in (("q", 5), ("k", 9))}
    together = ADMM().prune_group(weights, hessian_of(x_TI), patterns)
    for weight_OI, pattern, pruned in zip(weights.values(), patterns, together, strict=True):
        alone = ADMM().prune(weight_OI, hessian_of(x_TI), pattern, torch.Generator())
        assert torch.equal(pruned.mask_OI, alone.mask_OI) and torch.equal(pruned.weight_OI, alone.weight_OI)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"damping": -0.1}, "method.damping"),
        ({"penalty": 0.0}, "method.penalty"),
        ({"iterations": 0}, "method.iterations"),
        ({"mask_steps": -1}, "method.mask_steps"),
        ({"iterations": 10}, "method.mask_steps.*at most method.iterations=10"),
    ],
)
def test_impossible_knobs_are_refused(knobs: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ADMMConfig(**knobs)  # type: ignore[arg-type]
