"""Wanda and its variant against naive twins written from the formulas."""

import pytest
import torch

from prune.errors import UserError
from prune.pruning.method import Pruned
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.wanda import InputNorms, Wanda, share_mask
from prune.pruning.sparsity import NM, Pattern, Unstructured

PATTERNS: list[Pattern] = [Unstructured(0.01), Unstructured(0.5), Unstructured(0.7), Unstructured(0.99), NM(1, 4), NM(2, 4)]


def make_inputs(num_tokens: int, num_inputs: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Inputs of very different norms."""
    generator = torch.Generator().manual_seed(num_inputs)
    scale_I = torch.rand(num_inputs, generator=generator).mul(3).exp()
    return (torch.randn(num_tokens, num_inputs, generator=generator) * scale_I).to(dtype)


def make_weight(num_outputs: int, num_inputs: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(100 * num_outputs + num_inputs)
    return torch.randn(num_outputs, num_inputs, generator=generator).to(dtype)


def prune(weight_OI: torch.Tensor, x_TI: torch.Tensor, pattern: Pattern, variant: bool = False) -> Pruned:
    method = Wanda(variant=variant)
    statistic = method.start_statistic(x_TI.shape[1], torch.device("cpu"))
    statistic.add(x_TI)
    return method.prune(weight_OI, statistic, pattern, torch.Generator())


def naive_scores(weight_OI: torch.Tensor, x_TI: torch.Tensor) -> torch.Tensor:
    """|W_ij| * ||X_j||, one by one, in float32 or better."""
    dtype = torch.promote_types(torch.promote_types(weight_OI.dtype, x_TI.dtype), torch.float32)
    norms = [x_TI[:, column].to(torch.promote_types(x_TI.dtype, torch.float32)).square() for column in range(x_TI.shape[1])]
    norm_I = torch.stack(norms, dim=1).sum(dim=0).sqrt().to(dtype)
    score_OI = torch.empty(weight_OI.shape, dtype=dtype)
    for row in range(weight_OI.shape[0]):
        for column in range(weight_OI.shape[1]):
            score_OI[row, column] = weight_OI[row, column].to(dtype).abs() * norm_I[column]
    return score_OI


def naive_mask(score_OI: torch.Tensor, pattern: Pattern) -> torch.Tensor:
    """Row by row, group by group: the first of the columns sorted by score, then by position."""
    mask_OI = torch.zeros(score_OI.shape, dtype=torch.bool)
    num_inputs = score_OI.shape[1]
    size, num = (pattern.m, pattern.n) if isinstance(pattern, NM) else (num_inputs, int(num_inputs * pattern.ratio))
    for row, scores in enumerate(score_OI.tolist()):
        for start in range(0, num_inputs, size):
            columns = range(start, start + size)
            for column in sorted(columns, key=lambda column: (scores[column], column))[:num]:
                mask_OI[row, column] = True
    return mask_OI


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", [(1, 4), (1, 20), (7, 12), (17, 64)], ids=str)
def test_masks_are_those_of_the_naive_twin(shape: tuple[int, int], pattern: Pattern, dtype: torch.dtype) -> None:
    weight_OI, x_TI = make_weight(*shape, dtype), make_inputs(50, shape[1], dtype)
    pruned = prune(weight_OI, x_TI, pattern)
    expected_OI = naive_mask(naive_scores(weight_OI, x_TI), pattern)
    assert torch.equal(pruned.mask_OI, expected_OI)
    assert torch.equal(pruned.weight_OI, weight_OI.masked_fill(expected_OI, 0))


@pytest.mark.parametrize("pattern", [NM(4, 8), NM(3, 7), Unstructured(0.29)], ids=str)
def test_wider_groups_and_odd_widths(pattern: Pattern) -> None:
    num_inputs = 6 * pattern.m if isinstance(pattern, NM) else 100
    weight_OI, x_TI = make_weight(5, num_inputs), make_inputs(50, num_inputs)
    assert torch.equal(prune(weight_OI, x_TI, pattern).mask_OI, naive_mask(naive_scores(weight_OI, x_TI), pattern))


def test_every_row_loses_the_same_count() -> None:
    mask_OI = prune(make_weight(31, 57), make_inputs(50, 57), Unstructured(0.6)).mask_OI
    assert mask_OI.sum(dim=1).tolist() == [int(57 * 0.6)] * 31


def test_a_hand_worked_matrix() -> None:
    """Input norms 1, 2, 5 and 0: scores 4 6 10 0 and 1 2 15 0."""
    x_TI = torch.tensor([[1.0, 2.0, 3.0, 0.0], [0.0, 0.0, 4.0, 0.0]])
    weight_OI = torch.tensor([[4.0, -3.0, 2.0, 9.0], [1.0, 1.0, -3.0, -9.0]])
    pruned = prune(weight_OI, x_TI, Unstructured(0.5))
    assert pruned.weight_OI.tolist() == [[0, -3, 2, 0], [0, 1, -3, 0]]
    assert pruned.error == pytest.approx((16 + 1) / (16 + 36 + 100 + 1 + 4 + 225))
    assert prune(weight_OI, x_TI, NM(1, 2)).weight_OI.tolist() == [[0, -3, 2, 0], [0, 1, -3, 0]]


def test_equal_scores_go_from_the_front_of_each_row() -> None:
    x_TI = torch.ones(3, 4)
    assert prune(torch.ones(2, 4), x_TI, Unstructured(0.75)).mask_OI.int().tolist() == [[1, 1, 1, 0]] * 2
    assert prune(torch.ones(2, 4), x_TI, NM(1, 2)).mask_OI.int().tolist() == [[1, 0, 1, 0]] * 2


def test_inputs_of_one_norm_make_it_magnitude_within_each_row() -> None:
    weight_OI, x_TI = make_weight(9, 16), torch.eye(16) * 3
    mask_OI = prune(weight_OI, x_TI, Unstructured(0.4)).mask_OI
    for row in range(9):
        alone = Magnitude().prune(weight_OI[row : row + 1], None, Unstructured(0.4), torch.Generator())
        assert torch.equal(mask_OI[row : row + 1], alone.mask_OI)
    expected = Magnitude().prune(weight_OI, None, NM(2, 4), torch.Generator())
    assert torch.equal(prune(weight_OI, x_TI, NM(2, 4)).mask_OI, expected.mask_OI)


def test_weights_that_were_zero_already_go_first() -> None:
    weight_OI = make_weight(8, 16)
    weight_OI[:, 4:7] = 0
    pruned = prune(weight_OI, make_inputs(50, 16), Unstructured(0.5))
    assert bool(pruned.mask_OI[:, 4:7].all())
    assert (pruned.weight_OI == 0).sum(dim=1).tolist() == [8] * 8


def test_the_error_is_that_of_the_output_for_uncorrelated_inputs() -> None:
    weight_OI = make_weight(6, 8)
    x_TI = torch.linalg.qr(make_inputs(40, 8)).Q * torch.arange(1.0, 9.0)
    pruned = prune(weight_OI, x_TI, Unstructured(0.5))
    difference = x_TI @ (pruned.weight_OI - weight_OI).T
    assert pruned.error == pytest.approx(float(difference.square().sum() / (x_TI @ weight_OI.T).square().sum()), rel=1e-4)


def test_squares_are_summed_in_float32_and_doubles_in_float64() -> None:
    statistic = InputNorms(1, torch.device("cpu"))
    for _ in range(3):
        statistic.add(torch.full((1000, 1), 300.0, dtype=torch.float16))
    assert statistic.squared_I.dtype == torch.float32
    assert statistic.norms().item() == pytest.approx(300 * 3000**0.5)
    statistic.add(torch.ones(1, 1, dtype=torch.float64))
    assert statistic.squared_I.dtype == torch.float64


def reference_variant(score_OI: torch.Tensor, ratio: float) -> torch.Tensor:
    """The published bisection: a row loses all scores up to the last one whose running sum is within alpha of the row's."""
    sorted_OI = score_OI.sort(dim=1, stable=True).values
    running_OI, sum_O = sorted_OI.cumsum(dim=1), score_OI.sum(dim=1)

    def cut(alpha: float) -> tuple[torch.Tensor, float]:
        last_O1 = (running_OI <= (sum_O * alpha)[:, None]).sum(dim=1, keepdim=True) - 1
        mask_OI = score_OI <= sorted_OI.gather(1, last_O1)
        return mask_OI, float(mask_OI.double().mean())

    alpha, low, high = 0.4, 0.0, 0.8
    mask_OI, sparsity = cut(alpha)
    while abs(sparsity - ratio) > 0.001 and high - low >= 0.001:
        if sparsity > ratio:
            alpha, high = (alpha + low) / 2, alpha
        else:
            alpha, low = (alpha + high) / 2, alpha
        mask_OI, sparsity = cut(alpha)
    return mask_OI


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.7, 0.9])
def test_the_variant_is_the_published_bisection(ratio: float) -> None:
    weight_OI, x_TI = make_weight(64, 150), make_inputs(50, 150)
    pruned = prune(weight_OI, x_TI, Unstructured(ratio), variant=True)
    assert torch.equal(pruned.mask_OI, reference_variant(naive_scores(weight_OI, x_TI), ratio))
    assert float(pruned.mask_OI.double().mean()) == pytest.approx(ratio, abs=1e-3)
    assert len(set(pruned.mask_OI.sum(dim=1).tolist())) > 1
    assert torch.equal(pruned.weight_OI, weight_OI.masked_fill(pruned.mask_OI, 0))


def test_the_variant_never_empties_a_row_for_one_large_score() -> None:
    """No score of the last row is within the share; the published rule would remove them all."""
    score_OI = make_weight(400, 50).abs()
    score_OI[-1] = 1.0
    score_OI[-1, 0] = 1e-3
    score_OI[-1, 1:] *= 1e6
    mask_OI = share_mask(score_OI, Unstructured(0.02))
    assert float(mask_OI.double().mean()) == pytest.approx(0.02, abs=1e-3)
    assert int(mask_OI[-1].sum()) <= 1
    assert bool((mask_OI.sum(dim=1) < 50).all())


def test_equal_scores_of_the_variant_go_from_the_front() -> None:
    assert share_mask(torch.ones(3, 4), Unstructured(0.5)).int().tolist() == [[1, 1, 0, 0]] * 3


@pytest.mark.parametrize("ratio", [0.25, 0.99])
def test_a_sparsity_that_no_share_reaches_is_an_error(ratio: float) -> None:
    """With two equal scores a row loses none or one; 0.99 would take a share above the cap."""
    with pytest.raises(UserError, match=r"cannot reach sparsity .* removes 50%"):
        share_mask(torch.ones(3, 2), Unstructured(ratio))


def test_the_cap_of_the_share_is_an_error_on_real_shapes() -> None:
    with pytest.raises(UserError, match=r"cannot reach sparsity 99%.*0\.8, at most 0\.8\) removes 9\d\."):
        prune(make_weight(64, 150), make_inputs(50, 150), Unstructured(0.99), variant=True)


def test_the_variant_with_groups_is_an_error() -> None:
    with pytest.raises(UserError, match=r"method\.variant=true and sparsity 2:4"):
        prune(make_weight(4, 8), make_inputs(9, 8), NM(2, 4), variant=True)
