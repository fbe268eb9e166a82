"""The Triton kernel in Triton's interpreter, against the CPU sweep; run by test_triton_sweep.py with TRITON_INTERPRET=1."""

import pytest
import torch

from prune.pruning.solver.column_sweep import Swept, column_sweep, whole_groups
from prune.pruning.solver.column_sweep_triton import fits_groups, sweep_columns
from prune.pruning.solver.hessian import cholesky_root, in_blocks
from prune.pruning.sparsity import NM, Pattern, Unstructured

PATTERNS: list[list[Pattern]] = [
    [Unstructured(0.5), Unstructured(0.3)],
    [NM(2, 4), NM(2, 4)],
    [NM(1, 4), NM(3, 4)],
    [NM(4, 8), NM(4, 8)],
    [NM(3, 6), NM(3, 6)],
]


def make_root(num_inputs: int, dtype: torch.dtype) -> torch.Tensor:
    x_TI = torch.randn(4 * num_inputs, num_inputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hessian_II = x_TI.T @ x_TI / (2 * num_inputs) + 0.01 * torch.eye(num_inputs, dtype=torch.float64)
    return cholesky_root(hessian_II, 0.01).to(dtype)


def both(
    monkeypatch: pytest.MonkeyPatch, num_inputs: int, patterns: list[Pattern], dtype: torch.dtype
) -> list[tuple[Swept, Swept]]:
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(rows, num_inputs, generator=generator, dtype=torch.float64).to(dtype) for rows in (21, 40)]
    block_size = whole_groups(patterns, 32)
    blocks_II = in_blocks(make_root(num_inputs, dtype), block_size)
    plain = column_sweep(weights, patterns, blocks_II, block_size)
    monkeypatch.setattr(
        "prune.pruning.solver.column_sweep.sweeps_on_triton", lambda weight, stack: fits_groups(stack.group_size)
    )
    return list(zip(column_sweep(weights, patterns, blocks_II, block_size), plain, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("patterns", PATTERNS, ids=str)
def test_the_kernel_does_what_the_cpu_does(
    monkeypatch: pytest.MonkeyPatch, patterns: list[Pattern], dtype: torch.dtype
) -> None:
    """Blocks of 32 columns, the last one of 8 (of 24 or 30 where groups do not fit), and outputs that fill no tile."""
    num_inputs = 72 if patterns[0] != NM(3, 6) else 78
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    for kernel, plain in both(monkeypatch, num_inputs, patterns, dtype):
        assert torch.equal(kernel.mask_OI, plain.mask_OI)
        torch.testing.assert_close(kernel.weight_OI, plain.weight_OI, rtol=tolerance, atol=tolerance)
        assert kernel.squared_error == pytest.approx(plain.squared_error, rel=tolerance)


def test_equal_scores_go_from_the_front(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prune.pruning.solver.column_sweep.sweeps_on_triton", lambda weight, stack: True)
    (swept,) = column_sweep([torch.ones(3, 8)], [NM(2, 4)], torch.eye(8), 128)
    assert swept.mask_OI.int().tolist() == [[1, 1, 0, 0, 1, 1, 0, 0]] * 3


def test_a_column_by_hand() -> None:
    """U = [[1, 0.5], [0, 2]]: removing 3 of the first column leaves e = 3, and 4 - 3 * 0.5 in the second."""
    weight_BO, mask_BO = torch.tensor([[3.0], [4.0]]), torch.tensor([[True], [False]])
    error_BO = sweep_columns(weight_BO, mask_BO, torch.tensor([[1.0, 0.5], [0.0, 2.0]]))
    assert error_BO.tolist() == [[3.0], [0.0]] and weight_BO.tolist() == [[3.0], [2.5]]
