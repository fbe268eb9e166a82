"""Each method on the device against the CPU, on one linear with the same inputs; statistics, patterns, and the kernel.

In float64 rounding cannot decide between two weights of random inputs, so masks must be equal. In float32 it can where
scores are nearly equal, and only there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from prune.pruning.method import Method, Pruned
from prune.pruning.methods.admm import ADMM
from prune.pruning.methods.alps import ALPS
from prune.pruning.methods.dsnot import DSnoT
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.nowag import NoWag
from prune.pruning.methods.random import Random
from prune.pruning.methods.ria import RIA, relative_importance
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.start import Start
from prune.pruning.methods.swaps import Swaps
from prune.pruning.methods.wanda import InputNorms, Wanda
from prune.pruning.solver.column_sweep import Swept, column_sweep, whole_groups
from prune.pruning.solver.hessian import Hessian
from prune.pruning.solver.permutation import Permutation
from prune.pruning.sparsity import NM, Pattern, Unstructured

pytestmark = pytest.mark.gpu

CPU = torch.device("cpu")
HALF = Unstructured(0.5)
METHODS: dict[str, Method] = {
    "magnitude": Magnitude(),
    "random": Random(),
    "wanda": Wanda(),
    "wanda variant": Wanda(variant=True),
    "ria": RIA(),
    "nowag": NoWag(),
    "sparsegpt": SparseGPT(block_size=32),
    "alps": ALPS(max_iterations=30),
    "admm": ADMM(),
    "dsnot": DSnoT(),
    "dsnot sparsegpt": DSnoT(start=Start.sparsegpt),
    "swaps": Swaps(max_sweeps=10),
    "swaps ria": Swaps(start=Start.ria, max_sweeps=10),
}
PATTERNS: list[Pattern] = [
    *(Unstructured(0.1), Unstructured(0.3), HALF, Unstructured(0.9), Unstructured(0.5, preserve_zeros=True)),
    *(NM(1, 2), NM(1, 4), NM(2, 4), NM(3, 4), NM(4, 8), NM(2, 8), NM(3, 6), NM(2, 4, preserve_zeros=True)),
]
VARIANTS: list[Pattern] = [Unstructured(0.3), HALF]
"""What Wanda's variant can reach here."""


@dataclass(frozen=True)
class Case:
    """Weights O x I and correlated inputs T x I, made on the CPU."""

    weight_OI: Tensor
    x_TI: Tensor

    def prune(self, method: Method, pattern: Pattern, device: torch.device) -> Pruned:
        weight_OI, x_TI = self.weight_OI.to(device), self.x_TI.to(device)
        statistic = method.start_statistic(x_TI.shape[1], device)
        for part_TI in x_TI.split(100):
            statistic.add(part_TI)
        pruned = method.prune(weight_OI, statistic, pattern, torch.Generator().manual_seed(1))
        assert pruned.weight_OI.device.type == pruned.mask_OI.device.type == device.type
        return Pruned(pruned.weight_OI.cpu(), pruned.mask_OI.cpu(), pruned.error, pruned.num_ties)


def make_case(num_outputs: int, num_inputs: int, dtype: torch.dtype, num_tokens: int = 0, zeros: int = 7) -> Case:
    generator = torch.Generator().manual_seed(num_outputs + num_inputs)
    mix_II = torch.eye(num_inputs) + 0.5 * torch.randn(num_inputs, num_inputs, generator=generator) / num_inputs**0.5
    x_TI = torch.randn(num_tokens or 4 * num_inputs, num_inputs, generator=generator) @ mix_II
    weight_OI = torch.randn(num_outputs, num_inputs, generator=generator)
    weight_OI.view(-1)[::zeros] = 0
    return Case(weight_OI.to(dtype), x_TI.to(dtype))


def label(value: object) -> str:
    return f"{value}{' zeros' * getattr(value, 'preserve_zeros', False)}"


@pytest.mark.parametrize(
    ("name", "pattern"),
    [(name, pattern) for name in METHODS for pattern in PATTERNS if name != "wanda variant" or pattern in VARIANTS],
    ids=label,
)
def test_each_method_and_pattern_does_what_it_does_on_the_cpu(name: str, pattern: Pattern, device: torch.device) -> None:
    """Catches another mask, count or weight on the device, and tensors that are made on the wrong one."""
    case = make_case(21, 72, torch.float64)
    ours, right = (case.prune(METHODS[name], pattern, place) for place in (device, CPU))
    assert torch.equal(ours.mask_OI, right.mask_OI)
    torch.testing.assert_close(ours.weight_OI, right.weight_OI, rtol=1e-7, atol=1e-7)
    assert not ours.weight_OI[ours.mask_OI].any()
    assert ours.num_ties == right.num_ties and ours.error == (right.error and pytest.approx(right.error, rel=1e-6))


@pytest.mark.parametrize("permutation", [Permutation.heuristic, Permutation.lsa])
def test_permuted_groups_are_those_of_the_cpu(permutation: Permutation, device: torch.device) -> None:
    """Catches an order of inputs that is made on one device and used on another."""
    case, method = make_case(21, 72, torch.float64), RIA(permutation=permutation)
    masks = [case.prune(method, NM(2, 4), place).mask_OI for place in (device, CPU)]
    assert torch.equal(*masks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pattern", [HALF, NM(2, 4)], ids=str)
def test_magnitude_is_identical_in_every_type(pattern: Pattern, dtype: torch.dtype, device: torch.device) -> None:
    """Catches another rule for ties: in 16 bits many weights are equal, and the first of them go."""
    case = make_case(257, 512, dtype)
    ours, right = (case.prune(Magnitude(), pattern, place) for place in (device, CPU))
    assert torch.equal(ours.mask_OI, right.mask_OI) and torch.equal(ours.weight_OI, right.weight_OI)


def wanda_scores(case: Case) -> Tensor:
    return case.weight_OI.double().abs() * case.x_TI.double().square().sum(dim=0).sqrt()


def ria_scores(case: Case) -> Tensor:
    return relative_importance(case.weight_OI.double().abs()) * case.x_TI.double().square().sum(dim=0) ** 0.25


@pytest.mark.parametrize("pattern", [HALF, NM(2, 4)], ids=str)
@pytest.mark.parametrize(("method", "scores"), [(Wanda(), wanda_scores), (RIA(), ria_scores)], ids=["wanda", "ria"])
def test_in_float32_masks_differ_only_where_scores_are_equal_up_to_rounding(
    method: Method, scores: Callable[[Case], Tensor], pattern: Pattern, device: torch.device
) -> None:
    """Catches scores that lose digits on the device (TF32, sums in 16 bits): more than 1e-6 of them would move."""
    case = make_case(509, 1024, torch.float32)
    ours, right = (case.prune(method, pattern, place).mask_OI for place in (device, CPU))
    assert int(ours.sum()) == int(right.sum())
    exact_OI, differs_OI = scores(case), ours ^ right
    width = 4 if isinstance(pattern, NM) else exact_OI.numel() if isinstance(method, RIA) else exact_OI.shape[1]
    exact_RC, differs_RC = exact_OI.reshape(-1, width), differs_OI.reshape(-1, width)
    for row in differs_RC.any(dim=1).nonzero().flatten().tolist():
        moved = exact_RC[row][differs_RC[row]]
        assert float(moved.max() / moved.min()) - 1 < 1e-6


@pytest.mark.parametrize("pattern", [HALF, NM(2, 4), NM(4, 8)], ids=str)
def test_sparsegpt_in_float32_is_within_the_tolerance_of_its_cpu_tests(pattern: Pattern, device: torch.device) -> None:
    """Catches a factor or a sweep that loses digits on the device: products in TF32 miss this by a hundred times."""
    case = make_case(61, 136, torch.float32, num_tokens=8 * 136)
    ours, right = (case.prune(SparseGPT(block_size=32), pattern, place) for place in (device, CPU))
    assert torch.equal(ours.mask_OI, right.mask_OI)
    torch.testing.assert_close(ours.weight_OI, right.weight_OI, rtol=1e-4, atol=1e-4)
    assert ours.error == pytest.approx(right.error, rel=1e-4)


@pytest.mark.parametrize("name", ["sparsegpt", "alps", "admm", "swaps", "dsnot", "nowag"])
def test_errors_in_float32_are_those_of_the_cpu(name: str, device: torch.device) -> None:
    """Catches a solver that goes another way on the device: single weights may, the error that it leaves may not."""
    case = make_case(128, 256, torch.float32)
    ours, right = (case.prune(METHODS[name], HALF, place) for place in (device, CPU))
    assert ours.error == pytest.approx(right.error, rel=5e-3)
    assert float((ours.mask_OI ^ right.mask_OI).double().mean()) < 0.01


@pytest.mark.parametrize("is_weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_statistics_of_16_bits_are_summed_in_32(dtype: torch.dtype, is_weighted: bool, device: torch.device) -> None:
    """Catches sums in 16 bits or in TF32: both are off by a hundred times the tolerance, against float64."""
    x_TI = make_case(3, 1100, dtype, num_tokens=2000).x_TI  # more columns than a panel
    weight_T = torch.rand(2000, generator=torch.Generator().manual_seed(0)) + 0.1 if is_weighted else None
    norms, hessian = InputNorms(1100, device), Hessian(1100, device)
    for part in (slice(0, 1500), slice(1500, 2000)):
        of_part = None if weight_T is None else weight_T[part].to(device)
        norms.add(x_TI[part].to(device), of_part)
        hessian.add(x_TI[part].to(device), of_part)
    wide_TI = x_TI.double()
    counted_TI = wide_TI if weight_T is None else wide_TI * weight_T.double()[:, None]
    products_II = counted_TI.T @ wide_TI
    torch.testing.assert_close(norms.squared_I.cpu().double(), products_II.diagonal(), rtol=1e-5, atol=0)
    total = 2000 if weight_T is None else float(weight_T.double().sum())
    size_I = products_II.diagonal().sqrt()
    relative_II = (hessian.hessian().cpu().double() * total / 2 - products_II) / (size_I * size_I[:, None])
    assert float(relative_II.abs().max()) < 2e-5


def both_sweeps(case: Case, pattern: Pattern, device: torch.device, block_size: int = 128) -> list[tuple[Swept, Swept]]:
    """(by the kernel, by torch on the same device) of two linears on one factor."""
    hessian = Hessian(case.x_TI.shape[1], device)
    hessian.add(case.x_TI.to(device))
    size = whole_groups([pattern], block_size)
    blocks_II, weight_OI = hessian.factor(0.01, size).blocks_II, case.weight_OI.to(device)
    weights = [weight_OI, weight_OI.flip(0)[: len(weight_OI) // 2].contiguous()]
    kernel = column_sweep(weights, [pattern] * 2, blocks_II, size)
    with patch("prune.pruning.solver.column_sweep.sweeps_on_triton", lambda *_: False):
        return list(zip(kernel, column_sweep(weights, [pattern] * 2, blocks_II, size), strict=True))


@pytest.mark.parametrize("num_outputs", [1, 33, 127])
@pytest.mark.parametrize("pattern", [HALF, NM(1, 2), NM(2, 4), NM(4, 8)], ids=str)
def test_the_compiled_kernel_does_what_torch_does_in_a_block(pattern: Pattern, num_outputs: int, gpu: torch.device) -> None:
    """Catches a kernel that the compiler makes wrong, or that reads beyond outputs that fill no tile."""
    for kernel, plain in both_sweeps(make_case(2 * num_outputs, 128, torch.float32), pattern, gpu):
        assert torch.equal(kernel.mask_OI, plain.mask_OI)
        torch.testing.assert_close(kernel.weight_OI, plain.weight_OI, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_inputs", [128, 136, 1000, 4096, 16384])
@pytest.mark.parametrize("pattern", [HALF, NM(2, 4)], ids=str)
def test_the_compiled_kernel_serves_every_width(pattern: Pattern, num_inputs: int, gpu: torch.device) -> None:
    """Catches offsets beyond a block, last blocks of odd sizes, and places that overflow 32 bits."""
    generator = torch.Generator(gpu).manual_seed(0)
    num_tokens = min(4 * num_inputs, 8192)
    drawn = (torch.randn(rows, num_inputs, generator=generator, device=gpu) for rows in (66, num_tokens))
    case = Case(*drawn)
    for kernel, plain in both_sweeps(case, pattern, gpu):
        assert int(kernel.mask_OI.sum()) == int(plain.mask_OI.sum())
        assert float((kernel.mask_OI ^ plain.mask_OI).double().mean()) < 2e-3
        assert kernel.squared_error == pytest.approx(plain.squared_error, rel=1e-3)


def test_the_kernel_is_what_a_gpu_uses(gpu: torch.device) -> None:
    """Catches a GPU that falls back to the sweep in torch without a word."""
    unused = patch("prune.pruning.solver.column_sweep_triton._launch", side_effect=ZeroDivisionError)
    with unused, pytest.raises(ZeroDivisionError):
        make_case(8, 64, torch.float32).prune(SparseGPT(), HALF, gpu)
