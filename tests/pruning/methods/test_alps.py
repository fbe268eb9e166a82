"""ALPS against a naive twin in float64, and what its two parts promise."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from prune.errors import UserError
from prune.pruning.method import Pruned
from prune.pruning.methods.alps import ALPS, ALPSConfig, Penalty, Step, refit
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.solver.hessian import Hessian
from prune.pruning.sparsity import NM, Pattern, Unstructured
from tests.pruning.methods.test_sparsegpt import make_inputs, make_weight

PATTERNS: list[Pattern] = [Unstructured(0.3), Unstructured(0.5), Unstructured(0.7), NM(2, 4), NM(3, 6)]
FLOAT64 = torch.float64


def hessian_of(x_TI: Tensor) -> Hessian:
    statistic = Hessian(x_TI.shape[1], torch.device("cpu"))
    statistic.add(x_TI)
    return statistic


def prune(weight_OI: Tensor, x_TI: Tensor, pattern: Pattern, method: ALPS | None = None) -> Pruned:
    return (method or ALPS()).prune(weight_OI, hessian_of(x_TI), pattern, torch.Generator())


def naive_mask(weight_OI: Tensor, pattern: Pattern) -> Tensor:
    """True at the smallest sizes, by a stable sort of each group or of the matrix."""
    width = pattern.m if isinstance(pattern, NM) else weight_OI.numel()
    num = pattern.n if isinstance(pattern, NM) else int(weight_OI.numel() * pattern.ratio)
    mask = torch.zeros(weight_OI.numel() // width, width, dtype=torch.bool)
    for row, sizes in zip(mask, weight_OI.abs().reshape(-1, width), strict=True):
        row[sizes.argsort(stable=True)[:num]] = True
    return mask.view(weight_OI.shape)


def naive_scaled(weight_OI: Tensor, x_TI: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(weights times the norms, H scaled to 1 on its diagonal, norms), H damped by 1 % before."""
    hessian_II = x_TI.T @ x_TI
    hessian_II += 0.01 * hessian_II.diagonal().mean() * torch.eye(len(hessian_II), dtype=FLOAT64)
    norm_I = hessian_II.diagonal().sqrt()
    return weight_OI * norm_I, hessian_II / norm_I / norm_I[:, None], norm_I


def naive_prune(weight_OI: Tensor, x_TI: Tensor, pattern: Pattern, num_cg: int = 10) -> tuple[Tensor, Tensor]:
    """(new weights, mask): formula by formula, an inverse in every iteration, conjugate gradients output by output."""
    dense_OI, hessian_II, norm_I = naive_scaled(weight_OI, x_TI)
    mask_OI = seen_OI = naive_mask(dense_OI, pattern)
    kept_OI, dual_OI, penalty = dense_OI * ~mask_OI, torch.zeros_like(dense_OI), 0.1
    for iteration in range(1, 301):
        regular_II = hessian_II + penalty * torch.eye(len(hessian_II), dtype=FLOAT64)
        free_OI = (dense_OI @ hessian_II - dual_OI + penalty * kept_OI) @ torch.linalg.inv(regular_II)
        mask_OI = naive_mask(free_OI + dual_OI / penalty, pattern)
        kept_OI = (free_OI + dual_OI / penalty) * ~mask_OI
        dual_OI = dual_OI + penalty * (free_OI - kept_OI)
        if iteration % 3 == 0:
            changed = int((mask_OI != seen_OI).sum()) / int((~mask_OI).sum())
            seen_OI = mask_OI
            if changed == 0:
                break
            penalty *= 1.3 if changed > 0.1 else 1.2 if changed > 0.005 else 1.1
    rows = [naive_cg(*parts, hessian_II, num_cg) for parts in zip(kept_OI, ~mask_OI, dense_OI, strict=True)]
    return torch.stack(rows) / norm_I, mask_OI


def naive_cg(start_I: Tensor, keeps_I: Tensor, dense_I: Tensor, hessian_II: Tensor, num_steps: int) -> Tensor:
    """Textbook conjugate gradients on the kept inputs of one output."""
    inside_KK, value_K = hessian_II[keeps_I][:, keeps_I], start_I[keeps_I]
    residual_K = (hessian_II @ dense_I)[keeps_I] - inside_KK @ value_K
    direction_K = residual_K
    for _ in range(num_steps):
        length = residual_K @ residual_K / (direction_K @ inside_KK @ direction_K)
        value_K = value_K + length * direction_K
        next_K = residual_K - length * inside_KK @ direction_K
        direction_K = next_K + (next_K @ next_K) / (residual_K @ residual_K) * direction_K
        residual_K = next_K
    return torch.zeros_like(start_I).masked_scatter(keeps_I, value_K)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", [(6, 36), (20, 60)], ids=str)
def test_masks_and_weights_are_those_of_the_naive_twin(shape: tuple[int, int], pattern: Pattern) -> None:
    weight_OI, x_TI = make_weight(*shape, FLOAT64), make_inputs(shape[1], FLOAT64)
    before_OI = weight_OI.clone()
    pruned = prune(weight_OI, x_TI, pattern)
    expected_OI, mask_OI = naive_prune(before_OI, x_TI, pattern)
    assert torch.equal(weight_OI, before_OI)
    assert torch.equal(pruned.mask_OI, mask_OI)
    torch.testing.assert_close(pruned.weight_OI, expected_OI, rtol=1e-9, atol=1e-9)
    change_TO = x_TI @ (pruned.weight_OI - before_OI).T
    assert pruned.error == pytest.approx(float(change_TO.square().sum() / (x_TI @ before_OI.T).square().sum()))


@pytest.mark.parametrize("pattern", [Unstructured(0.7), Unstructured(0.5), NM(2, 4)], ids=str)
def test_the_error_is_below_sparsegpts(pattern: Pattern) -> None:
    weight_OI, x_TI = make_weight(24, 96, torch.float32), make_inputs(96, torch.float32)
    best = SparseGPT().prune(weight_OI, hessian_of(x_TI), pattern, torch.Generator()).error
    found = prune(weight_OI, x_TI, pattern).error
    assert found is not None and best is not None and found < best


def test_the_refit_is_the_least_squares_solution_on_the_support() -> None:
    """As many steps as kept inputs reach it, whatever they begin with; none leave the start."""
    x_TI, dense_OI = make_inputs(12, FLOAT64), make_weight(3, 12, FLOAT64)
    hessian_II, mask_OI = x_TI.T @ x_TI, naive_mask(dense_OI, Unstructured(0.5))
    refitted_OI = refit(dense_OI * ~mask_OI, mask_OI, dense_OI, hessian_II, 12)
    for row, keeps_I, dense_I in zip(refitted_OI, ~mask_OI, dense_OI, strict=True):
        best = torch.linalg.lstsq(x_TI[:, keeps_I], x_TI @ dense_I).solution
        torch.testing.assert_close(row[keeps_I], best)
        assert bool((row[~keeps_I] == 0).all())
    assert torch.equal(refit(dense_OI * ~mask_OI, mask_OI, dense_OI, hessian_II, 0), dense_OI * ~mask_OI)


def test_each_step_of_the_refit_lowers_the_error() -> None:
    weight_OI, x_TI = make_weight(8, 40, FLOAT64), make_inputs(40, FLOAT64)
    runs = [prune(weight_OI, x_TI, Unstructured(0.7), ALPS(cg_steps=steps)) for steps in (0, 1, 3, 10)]
    errors = [run.error for run in runs if run.error is not None]
    assert errors == sorted(errors, reverse=True) and len(set(errors)) == 4
    assert all(torch.equal(run.mask_OI, runs[0].mask_OI) for run in runs)


def test_the_penalty_grows_by_the_share_that_changed_and_the_search_ends_where_none_did() -> None:
    penalty = Penalty(0.1, authors_code=False)
    for num_changed, value in ((101, 0.13), (100, 0.156), (6, 0.1872), (5, 0.20592), (1, 0.226512)):
        assert penalty.update(num_changed, 1000, 3) is Step.go_on
        assert penalty.value == pytest.approx(value)
    assert penalty.update(0, 1000, 3) is Step.stop
    assert penalty.value == pytest.approx(0.226512)


def test_the_authors_code_begins_again_with_a_smaller_penalty_and_ends_earlier() -> None:
    penalty = Penalty(0.1, authors_code=True)
    assert penalty.update(50, 10000, 3) is Step.restart and penalty.value == pytest.approx(0.02)
    assert penalty.update(0, 10000, 3) is Step.go_on and penalty.value == pytest.approx(0.004)
    assert penalty.update(51, 10000, 3) is Step.go_on and penalty.value == pytest.approx(0.0048)
    assert penalty.update(2, 10000, 30) is Step.go_on
    assert penalty.update(2, 10000, 33) is Step.stop
    assert Penalty(0.1, authors_code=True, has_grown=True).update(0, 10000, 3) is Step.stop


def test_a_first_penalty_that_is_far_too_high_is_mended_by_the_authors_code_alone() -> None:
    weight_OI, x_TI = make_weight(12, 48, FLOAT64), make_inputs(48, FLOAT64)
    high, mended, usual = (
        prune(weight_OI, x_TI, Unstructured(0.6), method).error
        for method in (ALPS(penalty=1e4), ALPS(penalty=1e4, authors_code=True), ALPS())
    )
    assert high is not None and mended is not None and usual is not None
    assert mended < high and mended == pytest.approx(usual, rel=0.05)


@pytest.fixture
def fresh_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)  # fills what torch.empty gives
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("fresh_memory_is_nan")
def test_a_search_that_ends_with_a_restart_has_the_weights_that_it_would_begin_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Penalty, "update", lambda *_: Step.restart)
    weight_OI, x_TI = make_weight(12, 48, FLOAT64), make_inputs(48, FLOAT64)
    method = ALPS(penalty=1e4, authors_code=True, max_iterations=3, cg_steps=0)
    changed = prune(weight_OI, x_TI, Unstructured(0.6), method)
    assert torch.isfinite(changed.weight_OI).all()
    kept_OI = ~changed.mask_OI
    assert torch.allclose(changed.weight_OI[kept_OI], weight_OI[kept_OI])


def test_linears_with_the_same_inputs_are_solved_as_if_alone() -> None:
    x_TI, patterns = make_inputs(48, FLOAT64), [Unstructured(0.5), Unstructured(0.8)]
    weights = {name: make_weight(rows, 48, FLOAT64) for name, rows in (("q", 5), ("k", 9))}
    together = ALPS().prune_group(weights, hessian_of(x_TI), patterns)
    for weight_OI, pattern, pruned in zip(weights.values(), patterns, together, strict=True):
        alone = prune(weight_OI, x_TI, pattern)
        assert torch.equal(pruned.mask_OI, alone.mask_OI) and torch.equal(pruned.weight_OI, alone.weight_OI)


def test_weights_of_dead_inputs_go_first_and_are_0_where_they_stay() -> None:
    weight_OI, x_TI = make_weight(6, 24, FLOAT64), make_inputs(24, FLOAT64)
    x_TI[:, [3, 7]] = 0
    pruned = prune(weight_OI, x_TI, Unstructured(0.5))
    assert bool(pruned.mask_OI[:, [3, 7]].all())
    few = prune(weight_OI, x_TI, Unstructured(0.05))
    assert bool((few.weight_OI[:, [3, 7]] == 0).all()) and int(few.mask_OI.sum()) == 7
    assert bool(few.mask_OI[:, [3, 7]].sum() == 7)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"damping": -0.1}, "method.damping"),
        ({"penalty": 0.0}, "method.penalty"),
        ({"max_iterations": 0}, "method.max_iterations"),
        ({"update_every": 0}, "method.update_every"),
        ({"cg_steps": -1}, "method.cg_steps"),
    ],
)
def test_impossible_knobs_are_refused(knobs: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ALPSConfig(**knobs)  # type: ignore[arg-type]
