"""AlphaPruning's exponents and ratios against a naive twin, one eigenvalue at a time in Python's own numbers."""

import math
import statistics

import pytest
import torch
from torch import Tensor

from prune.config.sparsity import Allocation, Tail, UnstructuredConfig
from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, weights_sha256
from prune.pruning.allocation import allocate
from prune.pruning.alphapruning import alpha_ratios, scaled_ratios, tail_exponent
from prune.pruning.methods.magnitude import MagnitudeConfig
from prune.pruning.sparsity import Unstructured
from tests.architectures import CONFIGS, NUM_BLOCKS, tiny_model

EACH_TAIL = pytest.mark.parametrize("tail", Tail, ids=lambda tail: tail.value)


def naive_peak(eigenvalues: list[float]) -> float:
    """The lower edge of the fullest of 100 equal bins of the decimal logarithms; the last bin includes the largest."""
    digits = [math.log10(value) for value in eigenvalues]
    low, width = min(digits), (max(digits) - min(digits)) / 100
    counts = [0] * 100
    for digit in digits:
        counts[min(int((digit - low) / width), 99)] += 1
    return low + counts.index(max(counts)) * width


def hill(tail: list[float], start: float) -> float:
    return 1 + len(tail) / sum(math.log(value / start) for value in tail)


def naive_exponent(eigenvalues: list[float], tail: Tail) -> float:
    peak = naive_peak(eigenvalues)
    if tail is Tail.peak:
        return hill([value for value in eigenvalues if math.log10(value) >= peak], 10**peak)
    fits = []
    for first, start in enumerate(eigenvalues[:-1]):
        if start > 1.5 * 10**peak:
            break
        of_tail = eigenvalues[first:]
        alpha = hill(of_tail, start)
        distances = [1 - (value / start) ** (1 - alpha) - rank / len(of_tail) for rank, value in enumerate(of_tail)]
        fits.append((max(map(abs, distances)), alpha))
    return min(fits)[1]


def spectrum(weight_OI: Tensor) -> list[float]:
    """Eigenvalues of the smaller of W^T W and W W^T, ascending."""
    weight_OI = weight_OI.detach().double()
    gram = weight_OI @ weight_OI.T if len(weight_OI) <= weight_OI.shape[1] else weight_OI.T @ weight_OI
    values: list[float] = torch.linalg.eigvalsh(gram).tolist()
    return values


@EACH_TAIL
@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (40, 16)], ids=str)
def test_exponents_are_those_of_the_naive_twin(tail: Tail, shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(sum(shape))
    for power in (0.5, 1.5, 3.0):
        rows_O1 = torch.rand(shape[0], 1, generator=generator, dtype=torch.float64) ** -power
        eigenvalues = spectrum(torch.randn(*shape, generator=generator, dtype=torch.float64) * rows_O1)
        ours = tail_exponent(torch.tensor(eigenvalues, dtype=torch.float64), tail)
        assert ours == pytest.approx(naive_exponent(eigenvalues, tail), rel=1e-9)


def test_a_power_law_is_found() -> None:
    """Eigenvalues with P(lambda > x) = x^-(alpha - 1), as quantiles: their density falls from 1 on, where the peak is."""
    for alpha in (2.0, 3.5):
        quantiles = [(rank + 0.5) / 5000 for rank in range(5000)]
        eigenvalues = torch.tensor(sorted(share ** (-1 / (alpha - 1)) for share in quantiles), dtype=torch.float64)
        for tail in Tail:
            assert tail_exponent(eigenvalues, tail) == pytest.approx(alpha, rel=0.02)


def test_a_flatter_spectrum_has_a_larger_exponent() -> None:
    flat, heavy = (torch.logspace(0, digits, 200, dtype=torch.float64) for digits in (1, 4))
    for tail in Tail:
        assert tail_exponent(flat, tail) > tail_exponent(heavy, tail)


@pytest.mark.parametrize("weight", [torch.zeros(4, 4), torch.eye(4), torch.ones(1, 4)], ids=["zeros", "identity", "one row"])
@EACH_TAIL
def test_a_spectrum_without_a_tail_is_refused(weight: Tensor, tail: Tail) -> None:
    with pytest.raises(UserError, match=r"no tail for sparsity\.allocation=alphapruning.*method\.skip"):
        tail_exponent(torch.linalg.svdvals(weight).square().flip(0), tail)


@EACH_TAIL
@pytest.mark.parametrize("names", [["mlp.up_proj", "self_attn.v_proj"], None], ids=["some", "all"])
def test_ratios_are_those_of_the_naive_twin(tail: Tail, names: list[str] | None) -> None:
    model = tiny_model(CONFIGS["llama"]()).double()
    before = weights_sha256(model)
    blocks = [find_linears(block) for block in find_blocks(model)]
    names = names or list(blocks[0])
    means = [statistics.fmean(naive_exponent(spectrum(block[name].weight), tail) for name in names) for block in blocks]
    shares = [0.8 + 0.4 * (mean - min(means)) / (max(means) - min(means)) for mean in means]
    expected = {index: share * 0.6 / statistics.fmean(shares) for index, share in enumerate(shares)}
    seen: list[tuple[int, int]] = []
    targets = dict.fromkeys(range(NUM_BLOCKS), names)
    ratios = alpha_ratios(
        model, targets, 0.6, epsilon=0.2, tail=tail, on_block=lambda done, total: seen.append((done, total))
    )
    assert ratios == pytest.approx(expected, rel=1e-6)
    assert len(set(ratios.values())) > 1 and weights_sha256(model) == before
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_hand_worked_ratios() -> None:
    """Shares 0.7, 1 and 1.3 of sizes 1, 1, 2: 4 times the ratio over 4.3; equal exponents or epsilon 0 change nothing."""
    assert scaled_ratios([2.0, 3.0, 4.0], [1, 1, 2], 0.5, 0.3) == pytest.approx([0.7 * 2 / 4.3, 2 / 4.3, 1.3 * 2 / 4.3])
    assert scaled_ratios([3.0, 3.0], [1, 5], 0.5, 0.3) == [0.5, 0.5]
    assert scaled_ratios([2.0, 3.0], [1, 5], 0.5, 0.0) == [0.5, 0.5]


def test_a_ratio_of_1_is_an_error() -> None:
    with pytest.raises(UserError, match=r"ratios from 0\.56 to 1\.04 .* smaller sparsity\.alpha_epsilon than 0\.3"):
        scaled_ratios([2.0, 3.0], [1, 1], 0.8, 0.3)


def test_every_linear_of_a_block_gets_its_ratio_without_data() -> None:
    model = tiny_model(CONFIGS["llama"]())
    sparsity = UnstructuredConfig(ratio=0.5, allocation=Allocation.alphapruning, alpha_epsilon=0.1)
    patterns = allocate(model, MagnitudeConfig(skip=["*.o_proj"]), sparsity, None, batch_size=2)
    ratios = {name.partition(".")[0]: pattern.ratio for name, pattern in patterns.items()}
    assert all(pattern == Unstructured(ratios[name.partition(".")[0]]) for name, pattern in patterns.items())
    assert len(set(ratios.values())) == 3 and not any(name.endswith("o_proj") for name in patterns)
