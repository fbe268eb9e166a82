"""SparseGPT against a naive column-by-column twin written from the formula."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prune.errors import UserError
from prune.pruning.method import Pruned
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.solver.hessian import Hessian, cholesky_root, in_blocks, root_at_once, root_in_panels
from prune.pruning.sparsity import NM, Pattern, Unstructured

UNSTRUCTURED: list[Pattern] = [Unstructured(0.01), Unstructured(0.5), Unstructured(0.7), Unstructured(0.99)]
PATTERNS: list[Pattern] = [*UNSTRUCTURED, NM(1, 4), NM(2, 4), NM(3, 6)]
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


def make_inputs(num_inputs: int, dtype: torch.dtype, seed: int = 0, num_tokens: int = 0) -> torch.Tensor:
    """Correlated inputs; unless told otherwise enough tokens for a well-conditioned Hessian."""
    generator = torch.Generator().manual_seed(num_inputs + seed)
    mix_II = torch.eye(num_inputs) + 0.5 * torch.randn(num_inputs, num_inputs, generator=generator) / num_inputs**0.5
    x_TI: torch.Tensor = torch.randn(num_tokens or 8 * num_inputs, num_inputs, generator=generator) @ mix_II
    return x_TI.to(dtype)


def make_weight(num_outputs: int, num_inputs: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(100 * num_outputs + num_inputs + seed)
    return torch.randn(num_outputs, num_inputs, generator=generator).to(dtype)


def prune(
    weight_OI: torch.Tensor, x_TI: torch.Tensor, pattern: Pattern, damping: float = 0.01, block_size: int = 128
) -> Pruned:
    method = SparseGPT(damping=damping, block_size=block_size)
    statistic = method.start_statistic(x_TI.shape[1], torch.device("cpu"))
    statistic.add(x_TI)
    return method.prune(weight_OI, statistic, pattern, torch.Generator())


def lowest(scores: torch.Tensor, num: int) -> torch.Tensor:
    """The first `num` places of a stable sort of all scores, row by row."""
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[scores.flatten().argsort(stable=True)[:num]] = True
    return mask.view(scores.shape)


def naive_factor(x_TI: torch.Tensor, damping: float) -> tuple[torch.Tensor, torch.Tensor]:
    """U with H^-1 = U^T U by the published route, and the dead inputs."""
    hessian_II = 2 / len(x_TI) * x_TI.T @ x_TI
    dead_I = hessian_II.diagonal() == 0
    hessian_II = hessian_II + torch.diag(dead_I.to(x_TI.dtype))
    hessian_II = hessian_II + damping * hessian_II.diagonal().mean() * torch.eye(len(hessian_II), dtype=x_TI.dtype)
    inverse_II = torch.cholesky_inverse(torch.linalg.cholesky(hessian_II))
    return torch.linalg.cholesky(inverse_II, upper=True), dead_I


def naive_prune(
    weight_OI: torch.Tensor, x_TI: torch.Tensor, pattern: Pattern, damping: float = 0.01, block_size: int = 128
) -> tuple[torch.Tensor, torch.Tensor]:
    """Column by column; every removal corrects all later columns at once."""
    factor_II, dead_I = naive_factor(x_TI, damping)
    weight_OI = weight_OI.clone()
    weight_OI[:, dead_I] = 0
    mask_OI = torch.zeros(weight_OI.shape, dtype=torch.bool)
    num_outputs, num_inputs = weight_OI.shape
    for j in range(num_inputs):
        if isinstance(pattern, NM) and j % pattern.m == 0:
            scores = weight_OI[:, j : j + pattern.m] ** 2 / factor_II.diagonal()[j : j + pattern.m] ** 2
            for row in range(num_outputs):
                mask_OI[row, j : j + pattern.m] = lowest(scores[row], pattern.n)
        if not isinstance(pattern, NM) and j % block_size == 0:
            stop = min(j + block_size, num_inputs)
            scores = weight_OI[:, j:stop] ** 2 / factor_II.diagonal()[j:stop] ** 2
            num = int(num_outputs * stop * pattern.ratio) - int(num_outputs * j * pattern.ratio)
            mask_OI[:, j:stop] = lowest(scores, num)
        for row in range(num_outputs):
            if mask_OI[row, j]:
                error = weight_OI[row, j] / factor_II[j, j]
                weight_OI[row, j + 1 :] -= error * factor_II[j, j + 1 :]
                weight_OI[row, j] = 0
    return weight_OI, mask_OI


def assert_same(pruned: Pruned, expected: tuple[torch.Tensor, torch.Tensor]) -> None:
    weight_OI, mask_OI = expected
    assert torch.equal(pruned.mask_OI, mask_OI)
    assert bool((pruned.weight_OI[mask_OI] == 0).all())
    assert pruned.weight_OI.dtype == weight_OI.dtype
    assert float((pruned.weight_OI - weight_OI).norm() / weight_OI.norm()) < TOLERANCE[weight_OI.dtype]
    assert float((pruned.weight_OI - weight_OI).abs().max() / weight_OI.abs().max()) < TOLERANCE[weight_OI.dtype]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", [(1, 12), (7, 24), (16, 132), (5, 300)], ids=str)
def test_masks_and_weights_are_those_of_the_naive_twin(shape: tuple[int, int], pattern: Pattern, dtype: torch.dtype) -> None:
    weight_OI, x_TI = make_weight(*shape, dtype), make_inputs(shape[1], dtype)
    before_OI = weight_OI.clone()
    pruned = prune(weight_OI, x_TI, pattern)
    assert torch.equal(weight_OI, before_OI)
    assert_same(pruned, naive_prune(before_OI, x_TI, pattern))


@pytest.mark.parametrize("pattern", [NM(4, 8), NM(3, 7), NM(20, 42)], ids=str)
@pytest.mark.parametrize("block_size", [1, 10, 128])
def test_groups_of_any_width_go_with_any_block(pattern: NM, block_size: int) -> None:
    weight_OI, x_TI = make_weight(6, 168, torch.float64), make_inputs(168, torch.float64)
    pruned = prune(weight_OI, x_TI, pattern, block_size=block_size)
    assert_same(pruned, naive_prune(weight_OI, x_TI, pattern))
    assert bool((pruned.mask_OI.view(-1, pattern.m).sum(dim=1) == pattern.n).all())


@pytest.mark.parametrize("block_size", [1, 5, 16, 17, 40, 1000])
@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_blocks_and_damping(block_size: int, damping: float) -> None:
    weight_OI, x_TI = make_weight(9, 45, torch.float64), make_inputs(45, torch.float64)
    pruned = prune(weight_OI, x_TI, Unstructured(0.55), damping, block_size)
    assert_same(pruned, naive_prune(weight_OI, x_TI, Unstructured(0.55), damping, block_size))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "patterns", [[Unstructured(0.5), Unstructured(0.2), Unstructured(0.85)], [NM(2, 4), NM(1, 4), NM(3, 4)]], ids=str
)
def test_linears_with_the_same_inputs_are_swept_together_each_by_its_own_threshold(
    patterns: list[Pattern], dtype: torch.dtype
) -> None:
    weights = [scale * make_weight(rows, 152, dtype) for rows, scale in ((5, 1.0), (1, 10.0), (9, 0.1))]
    x_TI = make_inputs(152, dtype)
    statistic = Hessian(152, torch.device("cpu"))
    statistic.add(x_TI)
    together = SparseGPT().prune_group(dict(zip("qkv", weights, strict=True)), statistic, patterns)
    for pruned, weight_OI, pattern in zip(together, weights, patterns, strict=True):
        assert_same(pruned, naive_prune(weight_OI, x_TI, pattern))
        alone = SparseGPT().prune(weight_OI, statistic, pattern, torch.Generator())
        assert pruned.error == pytest.approx(alone.error, rel=1e-4)


def test_what_a_dense_linear_puts_out_is_computed_once_by_its_name() -> None:
    """2/T sum of (W x)^2 by hand: x of 1, 0 and 0, 2, T = 2."""
    statistic = Hessian(2, torch.device("cpu"))
    statistic.add(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    weight_OI = torch.tensor([[3.0, 1.0]])
    assert statistic.dense_outputs({"q": weight_OI, "k": -2 * weight_OI}) == [13, 52]
    assert statistic.dense_outputs({"v": weight_OI, "q": 0 * weight_OI}) == [13, 13], "a name stands for one linear"
    statistic.add(torch.tensor([[0.0, 0.0], [0.0, 0.0]]))
    assert statistic.dense_outputs({"q": weight_OI}) == [6.5]


@settings(max_examples=60)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 50), st.floats(0.005, 0.995))
def test_the_count_of_the_matrix_is_exact(num_outputs: int, num_inputs: int, block_size: int, ratio: float) -> None:
    weight_OI, x_TI = make_weight(num_outputs, num_inputs, torch.float32), make_inputs(num_inputs, torch.float32)
    mask_OI = prune(weight_OI, x_TI, Unstructured(ratio), block_size=block_size).mask_OI
    assert int(mask_OI.sum()) == int(num_outputs * num_inputs * ratio)


def test_every_even_block_loses_the_count_of_the_reference() -> None:
    mask_OI = prune(
        make_weight(8, 96, torch.float32), make_inputs(96, torch.float32), Unstructured(0.625), block_size=32
    ).mask_OI
    assert mask_OI.view(8, 3, 32).sum(dim=(0, 2)).tolist() == [int(8 * 32 * 0.625)] * 3


def test_a_hand_worked_matrix() -> None:
    """Two pairs of inputs with H ~ [[2, 1], [1, 2]], so U ~ [[sqrt(2/3), -sqrt(1/6)], [0, sqrt(1/2)]].

    Scores are 1.5 W^2 for the first of a pair and 2 W^2 for the second: 1.5 32 6 72 and 37.5 2 1.5 50. Removing the first
    of a pair gives half of it to the second; removing the second comes too late for the first.
    """
    pair = [[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    x_TI = torch.kron(torch.eye(2), torch.tensor(pair)).double()
    weight_OI = torch.tensor([[1.0, 4.0, 2.0, 6.0], [5.0, 1.0, 1.0, 5.0]], dtype=torch.float64)
    expected_OI = torch.tensor([[0.0, 4.5, 0.0, 7.0], [5.0, 0.0, 0.0, 5.5]], dtype=torch.float64)
    for pattern in (NM(2, 4), NM(1, 2), Unstructured(0.5)):
        pruned = prune(weight_OI, x_TI, pattern, damping=0)
        torch.testing.assert_close(pruned.weight_OI, expected_OI)
        assert torch.equal(pruned.mask_OI, expected_OI == 0)
        difference = x_TI @ (expected_OI - weight_OI).T
        assert pruned.error == pytest.approx(float(difference.square().sum() / (x_TI @ weight_OI.T).square().sum()))
    quarter_OI = torch.tensor([[0.0, 4.5, 2.0, 6.0], [5.0, 1.0, 0.0, 5.5]], dtype=torch.float64)
    torch.testing.assert_close(prune(weight_OI, x_TI, Unstructured(0.25), damping=0).weight_OI, quarter_OI)


def test_uncorrelated_inputs_leave_the_other_weights_alone() -> None:
    weight_OI = make_weight(6, 40, torch.float32)
    for pattern in (Unstructured(0.5), NM(2, 4)):
        pruned = prune(weight_OI, torch.eye(40), pattern)
        assert torch.equal(pruned.weight_OI, weight_OI.masked_fill(pruned.mask_OI, 0))


def test_equal_scores_go_from_the_front_row_by_row() -> None:
    mask_OI = prune(torch.ones(2, 8), torch.eye(8), Unstructured(0.25), block_size=4).mask_OI
    assert mask_OI.int().tolist() == [[1, 1, 0, 0, 1, 1, 0, 0], [0] * 8]


@pytest.mark.parametrize("pattern", [Unstructured(0.5), Unstructured(0.7), NM(2, 4), NM(3, 4)], ids=str)
@pytest.mark.parametrize("seed", range(25))
def test_the_correction_does_not_make_the_output_worse(seed: int, pattern: Pattern) -> None:
    """Against the same mask without correction, which is what Wanda would make of it, on the calibration tokens.

    True with many more tokens than inputs. No theorem: with fewer tokens than inputs and high sparsity the greedy sweep,
    which never corrects earlier columns, is now and then worse (about 1 of 70 draws of 10 tokens, 32 inputs, 70%).
    """
    weight_OI = make_weight(8, 32, torch.float64, seed)
    x_TI = make_inputs(32, torch.float64, seed, num_tokens=200)
    pruned = prune(weight_OI, x_TI, pattern)
    total = float((x_TI @ weight_OI.T).square().sum())
    corrected = float((x_TI @ (pruned.weight_OI - weight_OI).T).square().sum()) / total
    uncorrected = float((x_TI @ weight_OI.masked_fill(~pruned.mask_OI, 0).T).square().sum()) / total
    assert pruned.error == pytest.approx(corrected, rel=1e-6)
    assert corrected <= uncorrected


@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_solved_in_float32_and_rounded_once(dtype: torch.dtype, pattern: Pattern) -> None:
    weight_OI, x_TI = make_weight(8, 48, dtype), make_inputs(48, dtype)
    pruned = prune(weight_OI, x_TI, pattern)
    expected = prune(weight_OI.float(), x_TI.float(), pattern)
    assert torch.equal(pruned.mask_OI, expected.mask_OI)
    assert torch.equal(pruned.weight_OI, expected.weight_OI.to(dtype))


@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=str)
def test_dead_inputs_go_first_and_the_count_stays(pattern: Pattern) -> None:
    weight_OI, x_TI = make_weight(6, 40, torch.float64), make_inputs(40, torch.float64)
    x_TI[:, [3, 17, 18, 39]] = 0
    pruned = prune(weight_OI, x_TI, pattern, block_size=16)
    assert_same(pruned, naive_prune(weight_OI, x_TI, pattern, block_size=16))
    assert bool(pruned.mask_OI[:, [3, 17, 18, 39]].all())
    assert int(pruned.mask_OI.sum()) == 120


def test_more_dead_inputs_than_may_go_are_zero_but_not_counted() -> None:
    weight_OI, x_TI = make_weight(6, 40, torch.float64), make_inputs(40, torch.float64)
    x_TI[:, :30] = 0
    pruned = prune(weight_OI, x_TI, Unstructured(0.25))
    assert_same(pruned, naive_prune(weight_OI, x_TI, Unstructured(0.25)))
    assert int(pruned.mask_OI.sum()) == 60
    assert bool((pruned.weight_OI[:, :30] == 0).all())
    assert torch.equal(pruned.weight_OI[:, 30:], weight_OI[:, 30:])


def test_weights_that_were_zero_already_keep_the_count_exact() -> None:
    weight_OI, x_TI = make_weight(6, 40, torch.float64), make_inputs(40, torch.float64)
    weight_OI[:, ::4] = 0
    for pattern in (Unstructured(0.5), NM(2, 4)):
        pruned = prune(weight_OI, x_TI, pattern)
        assert_same(pruned, naive_prune(weight_OI, x_TI, pattern))
        assert int(pruned.mask_OI.sum()) == 120


def test_one_block_of_the_root_is_the_papers_factor() -> None:
    x_TI = make_inputs(30, torch.float64)
    factor_II, _ = naive_factor(x_TI, 0.01)
    statistic = Hessian(30, torch.device("cpu"))
    statistic.add(x_TI)
    factor = statistic.factor(0.01, 30)
    torch.testing.assert_close(factor.blocks_II, factor_II, rtol=1e-10, atol=1e-12)
    assert factor.damping == pytest.approx(0.01 * float(statistic.hessian().diagonal().mean()))
    hessian_II = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    expected_II = torch.tensor([[1.5**0.5, 0.5**0.5], [0.0, 2**0.5]])
    torch.testing.assert_close(cholesky_root(hessian_II, 0.0), expected_II)


@pytest.mark.parametrize("num_inputs", [3, 192, 500])
def test_the_root_in_panels_is_that_of_one_decomposition(num_inputs: int) -> None:
    x_TI = make_inputs(num_inputs, torch.float64, num_tokens=2 * num_inputs)
    upper_II = (x_TI.T @ x_TI).triu()
    for decompose in (root_in_panels, root_at_once):
        root_II, is_failed = decompose(upper_II)
        torch.testing.assert_close((root_II @ root_II.T).triu(), upper_II)
        assert torch.equal(root_II, root_II.triu()) and not is_failed
        upper_II[1, 1], kept = -1.0, upper_II[1, 1].clone()
        assert decompose(upper_II)[1]
        upper_II[1, 1] = kept


def test_the_root_in_blocks() -> None:
    """Two blocks of two columns and one of one."""
    root_II = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).triu(1) + 2 * torch.eye(5)
    expected_II = torch.zeros_like(root_II)
    for block in (slice(0, 2), slice(2, 4), slice(4, 5)):
        inverse_BB = root_II[block, block].inverse()
        expected_II[block, block] = inverse_BB
        expected_II[: block.start, block] = root_II[: block.start, block] @ inverse_BB
    torch.testing.assert_close(in_blocks(root_II.clone(), 2), expected_II)


@pytest.mark.parametrize("num_inputs", [3, 256, 300, 700])
def test_the_hessian_in_panels_is_that_of_one_product(num_inputs: int) -> None:
    x_TI = make_inputs(num_inputs, torch.float64, num_tokens=50)
    statistic = Hessian(num_inputs, torch.device("cpu"))
    statistic.add(x_TI[:20])
    statistic.add(x_TI[20:])
    expected_II = 2 / 50 * x_TI.T @ x_TI
    hessian_II = statistic.hessian()
    assert torch.equal(hessian_II, hessian_II.T)
    torch.testing.assert_close(hessian_II, expected_II, rtol=1e-12, atol=1e-12)
    weight_OI = make_weight(5, num_inputs, torch.float64)
    expected = float((weight_OI @ expected_II @ weight_OI.T).trace())
    assert statistic.squared_outputs([weight_OI])[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_off_the_cpu_inputs_keep_their_type_and_are_summed_in_float32(dtype: torch.dtype) -> None:
    """On the device `meta`, which checks shapes and types without computing; the arithmetic itself needs a GPU."""
    statistic = Hessian(1500, torch.device("meta"))
    statistic.add(torch.empty(20, 1500, dtype=dtype, device="meta"))
    assert statistic._panels_II.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_the_factor_is_made_once_and_again_for_new_tokens() -> None:
    statistic = Hessian(8, torch.device("cpu"))
    statistic.add(make_inputs(8, torch.float32))
    first = statistic.factor(0.01, 128)
    assert statistic.factor(0.01, 128) is first
    assert not torch.equal(statistic.factor(0.1, 128).blocks_II, first.blocks_II)
    statistic.add(make_inputs(8, torch.float32, seed=1))
    assert not torch.equal(statistic.factor(0.01, 128).blocks_II, first.blocks_II)
    assert statistic.hessian().dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fewer_tokens_than_inputs_need_damping(dtype: torch.dtype) -> None:
    weight_OI, x_TI = make_weight(4, 32, dtype), make_inputs(32, dtype, num_tokens=10)
    with pytest.raises(UserError, match=r"singular with method\.damping=0:.*method\.damping=0\.01"):
        prune(weight_OI, x_TI, Unstructured(0.5), damping=0)
    assert int(prune(weight_OI, x_TI, Unstructured(0.5), damping=0.01).mask_OI.sum()) == 64


@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=str)
@pytest.mark.parametrize("num_tokens", [1, 20, 119])
def test_rank_deficient_inputs_with_the_usual_damping(num_tokens: int, pattern: Pattern) -> None:
    """Also a single token: the right answer, with the error that the calibration tokens show."""
    weight_OI, x_TI = make_weight(7, 120, torch.float64), make_inputs(120, torch.float64, num_tokens=num_tokens)
    pruned = prune(weight_OI, x_TI, pattern)
    assert_same(pruned, naive_prune(weight_OI, x_TI, pattern))
    change = float((x_TI @ (pruned.weight_OI - weight_OI).T).square().sum() / (x_TI @ weight_OI.T).square().sum())
    assert pruned.error == pytest.approx(change, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("pattern", [Unstructured(0.5), Unstructured(0.7), NM(2, 4)], ids=str)
def test_ill_conditioned_inputs(pattern: Pattern) -> None:
    """Inputs of very different scale (condition about 1e8 before damping), as outlier features of language models are.

    In float32 the masks are those of the float64 twin but for scores that rounding cannot tell apart.
    """
    weight_OI = make_weight(48, 384, torch.float64)
    scale_I = torch.logspace(-2, 2, 384, dtype=torch.float64)[
        torch.randperm(384, generator=torch.Generator().manual_seed(0))
    ]
    x_TI = make_inputs(384, torch.float64) * scale_I
    expected_OI, expected_mask_OI = naive_prune(weight_OI, x_TI, pattern)
    assert_same(prune(weight_OI, x_TI, pattern), (expected_OI, expected_mask_OI))
    single = prune(weight_OI.float(), x_TI.float(), pattern)
    assert float((single.mask_OI == expected_mask_OI).double().mean()) >= 0.9999
    true_output = (x_TI @ (expected_OI - weight_OI).T).norm()
    assert float((x_TI @ (single.weight_OI.double() - weight_OI).T).norm() / true_output) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_inputs_and_weights_that_are_not_finite_are_errors(bad: float) -> None:
    weight_OI, x_TI = make_weight(4, 12, torch.float32), make_inputs(12, torch.float32)
    x_TI[3, 5] = bad
    with pytest.raises(UserError, match="calibration inputs of this linear are infinite or not a number"):
        prune(weight_OI, x_TI, Unstructured(0.5))
    weight_OI[1, 2] = bad
    with pytest.raises(UserError, match="1 of 48 weights are infinite or not a number"):
        prune(weight_OI, make_inputs(12, torch.float32), Unstructured(0.5))


def test_large_finite_numbers_are_not_taken_for_infinities() -> None:
    """Their sum overflows, they do not."""
    weight_OI = torch.full((4, 8), 2e38)
    assert int(prune(weight_OI, torch.eye(8), NM(2, 4)).mask_OI.sum()) == 16


def test_two_runs_are_equal() -> None:
    weight_OI, x_TI = make_weight(64, 300, torch.float32), make_inputs(300, torch.float32)
    first, second = (prune(weight_OI, x_TI, Unstructured(0.5)) for _ in range(2))
    assert torch.equal(first.weight_OI, second.weight_OI) and torch.equal(first.mask_OI, second.mask_OI)


def test_all_weights_zero() -> None:
    pruned = prune(torch.zeros(4, 8), make_inputs(8, torch.float32), Unstructured(0.5))
    assert int(pruned.mask_OI.sum()) == 16 and pruned.error == 0


def test_an_overflow_of_the_weights_type_is_an_error() -> None:
    weight_OI = torch.tensor([[60000.0, 65000.0]], dtype=torch.float16)
    x_TI = torch.ones(4, 2) + 0.01 * make_inputs(2, torch.float32, num_tokens=4)
    with pytest.raises(UserError, match=r"overflow torch\.float16 with method\.damping=0\.01"):
        prune(weight_OI, x_TI, NM(1, 2))
