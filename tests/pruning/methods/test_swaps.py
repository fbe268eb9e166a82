"""SparseSwaps against brute force: every pair is tried by computing the squared output error anew from the inputs."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from prune.errors import UserError
from prune.pruning.method import Method, Pruned
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.methods.ria import RIA
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.start import Start
from prune.pruning.methods.swaps import Swaps
from prune.pruning.methods.wanda import Wanda
from prune.pruning.sparsity import NM, Pattern, Unstructured

PATTERNS: list[Pattern] = [Unstructured(0.25), Unstructured(0.5), Unstructured(0.8), NM(2, 4), NM(1, 4), NM(5, 8)]
EACH_PATTERN = pytest.mark.parametrize("pattern", PATTERNS, ids=str)
EACH_START = pytest.mark.parametrize("start", Start, ids=lambda start: start.value)


def make(num_outputs: int, num_inputs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Weights, and correlated inputs of very different norms."""
    generator = torch.Generator().manual_seed(1000 * num_outputs + num_inputs + seed)
    mixed_II = torch.randn(num_inputs, num_inputs, generator=generator, dtype=torch.float64)
    scale_I = torch.rand(num_inputs, generator=generator, dtype=torch.float64).mul(2).exp()
    x_TI = (torch.randn(3 * num_inputs, num_inputs, generator=generator, dtype=torch.float64) @ mixed_II + 0.5) * scale_I
    return torch.randn(num_outputs, num_inputs, generator=generator, dtype=torch.float64), x_TI


def prune(method: Method, weight_OI: Tensor, x_TI: Tensor, pattern: Pattern) -> Pruned:
    statistic = method.start_statistic(x_TI.shape[1], torch.device("cpu"))
    statistic.add(x_TI)
    return method.prune(weight_OI, statistic, pattern, torch.Generator())


def row_errors(weight_OI: Tensor, mask_OI: Tensor, x_TI: Tensor) -> Tensor:
    """||x (w without the kept)||^2 of each row."""
    return (x_TI @ (weight_OI * mask_OI).T).square().sum(dim=0)


def naive_row(weight_I: Tensor, removed: set[int], x_TI: Tensor, group_size: int | None, max_sweeps: int) -> set[int]:
    """One swap after another: of all pairs the one with the lowest error, computed from the inputs; stops without a gain."""

    def error(of: set[int]) -> float:
        part_I = torch.zeros_like(weight_I)
        part_I[list(of)] = weight_I[list(of)]
        return float((x_TI @ part_I).square().sum())

    for _ in range(max_sweeps):
        kept = set(range(len(weight_I))) - removed
        tries = [
            (removed - {back}) | {out}
            for out in kept
            for back in removed
            if group_size is None or out // group_size == back // group_size
        ]
        best = min(tries, key=error, default=removed)
        if not error(best) < error(removed) * (1 - 1e-12):
            return removed
        removed = best
    return removed


def as_mask(rows: list[set[int]], num_inputs: int) -> Tensor:
    return torch.tensor([[column in removed for column in range(num_inputs)] for removed in rows])


@EACH_PATTERN
@pytest.mark.parametrize("max_sweeps", [1, 3, 100])
def test_masks_are_those_of_brute_force(pattern: Pattern, max_sweeps: int) -> None:
    weight_OI, x_TI = make(5, 16)
    start_OI = prune(Wanda(), weight_OI, x_TI, pattern).mask_OI
    size = pattern.m if isinstance(pattern, NM) else None
    rows = [
        naive_row(weight_I, set(mask_I.nonzero().flatten().tolist()), x_TI, size, max_sweeps)
        for weight_I, mask_I in zip(weight_OI, start_OI, strict=True)
    ]
    pruned = prune(Swaps(max_sweeps=max_sweeps), weight_OI, x_TI, pattern)
    assert torch.equal(pruned.mask_OI, as_mask(rows, 16))
    assert not torch.equal(pruned.mask_OI, start_OI)
    assert torch.equal(pruned.weight_OI, weight_OI.masked_fill(pruned.mask_OI, 0))


def test_no_single_swap_improves_what_comes_out_and_the_best_mask_of_all_is_often_found() -> None:
    """On rows of eight inputs all 70 masks can be tried: none with one swap is better, and most rows reach the best."""
    weight_OI, x_TI = make(40, 8)
    pruned = prune(Swaps(), weight_OI, x_TI, Unstructured(0.5))
    masks = as_mask([set(columns) for columns in combinations(range(8), 4)], 8)
    error_OC = torch.stack([row_errors(weight_OI, mask_I.expand(40, -1), x_TI) for mask_I in masks], dim=1)
    mine_O = row_errors(weight_OI, pruned.mask_OI, x_TI)
    one_swap_OC = (pruned.mask_OI[:, None] ^ masks[None]).sum(dim=2) == 2
    assert bool((mine_O[:, None] <= error_OC.masked_fill(~one_swap_OC, torch.inf) * (1 + 1e-9)).all())
    num_best = int((mine_O <= error_OC.amin(dim=1) * (1 + 1e-9)).sum())
    start_O = row_errors(weight_OI, prune(Wanda(), weight_OI, x_TI, Unstructured(0.5)).mask_OI, x_TI)
    assert num_best > int((start_O <= error_OC.amin(dim=1) * (1 + 1e-9)).sum()) and num_best >= 20


@EACH_START
@EACH_PATTERN
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_no_row_gets_worse_and_every_count_stays(start: Start, pattern: Pattern, dtype: torch.dtype) -> None:
    weight_OI, x_TI = make(24, 32)
    weight_OI, x_TI = weight_OI.to(dtype), x_TI.to(dtype)
    before_OI = prune(Swaps(start=start, max_sweeps=0), weight_OI, x_TI, pattern).mask_OI
    pruned = prune(Swaps(start=start), weight_OI, x_TI, pattern)
    size = pattern.m if isinstance(pattern, NM) else 32
    assert torch.equal(*(mask_OI.unflatten(1, (-1, size)).sum(dim=2) for mask_OI in (before_OI, pruned.mask_OI)))
    wide = weight_OI.double(), x_TI.double()
    errors = [row_errors(wide[0], mask_OI, wide[1]) for mask_OI in (before_OI, pruned.mask_OI)]
    moved_O = (before_OI != pruned.mask_OI).any(dim=1)
    assert bool((errors[1] <= errors[0]).all()) and bool(moved_O.any())
    assert bool((errors[1] < errors[0])[moved_O].all())
    total = float((wide[1] @ wide[0].T).square().sum())
    assert pruned.error == pytest.approx(float(errors[1].sum()) / total, rel=1e-4 if dtype != torch.float64 else 1e-9)
    assert pruned.weight_OI.dtype == dtype


@EACH_PATTERN
def test_without_a_sweep_it_is_the_mask_of_the_start(pattern: Pattern) -> None:
    weight_OI, x_TI = make(6, 16)
    methods: dict[Start, Method] = {Start.wanda: Wanda(), Start.sparsegpt: SparseGPT()}
    if isinstance(pattern, NM):  # these two compare the whole matrix otherwise
        methods |= {Start.magnitude: Magnitude(), Start.ria: RIA()}
    for start, method in methods.items():
        pruned = prune(Swaps(start=start, max_sweeps=0), weight_OI, x_TI, pattern)
        assert torch.equal(pruned.mask_OI, prune(method, weight_OI, x_TI, pattern).mask_OI)
        assert torch.equal(pruned.weight_OI, weight_OI.masked_fill(pruned.mask_OI, 0))  # dense weights, also of SparseGPT


@pytest.mark.parametrize("start", [Start.magnitude, Start.ria], ids=lambda start: start.value)
def test_starts_that_compare_a_matrix_alone_compare_rows_here(start: Start) -> None:
    weight_OI, x_TI = make(6, 16)
    pruned = prune(Swaps(start=start, max_sweeps=0), weight_OI, x_TI, Unstructured(0.4))
    assert pruned.mask_OI.sum(dim=1).tolist() == [6] * 6
    size_OI = weight_OI.abs()
    if start is Start.ria:
        shares_OI = size_OI / size_OI.sum(dim=0) + size_OI / size_OI.sum(dim=1, keepdim=True)
        size_OI = shares_OI * x_TI.square().sum(dim=0).sqrt() ** 0.5
    rows = [set(score_I.argsort(stable=True)[:6].tolist()) for score_I in size_OI]
    assert torch.equal(pruned.mask_OI, as_mask(rows, 16))


def test_rows_with_nothing_or_all_removed_stay() -> None:
    """Ratios that round to no weight of a row, and rows that SparseGPT leaves or empties as a whole."""
    weight_OI, x_TI = make(3, 8)
    assert not prune(Swaps(), weight_OI, x_TI, Unstructured(0.1)).mask_OI.any()
    weight_OI[0] *= 1e-6
    weight_OI[1] *= 1e6
    pruned = prune(Swaps(start=Start.sparsegpt), weight_OI, x_TI, Unstructured(0.34))
    assert pruned.mask_OI.sum(dim=1).tolist() == [8, 0, 0]


def test_dead_inputs_go_first() -> None:
    """What is never seen costs nothing: the swap that removes it and restores a seen one is made."""
    weight_OI, x_TI = make(4, 8)
    x_TI[:, 3] = 0
    weight_OI[:, 3] = 100
    pruned = prune(Swaps(start=Start.magnitude), weight_OI, x_TI, Unstructured(0.5))
    assert bool(pruned.mask_OI[:, 3].all())


def test_uncorrelated_inputs_leave_wandas_mask() -> None:
    """Without correlation Wanda's mask is the best one of each row."""
    weight_OI, _ = make(4, 8)
    x_TI = torch.diag(torch.arange(1.0, 9.0, dtype=torch.float64))
    wanda_OI = prune(Wanda(), weight_OI, x_TI, Unstructured(0.5)).mask_OI
    assert torch.equal(prune(Swaps(), weight_OI, x_TI, Unstructured(0.5)).mask_OI, wanda_OI)
    assert torch.equal(prune(Swaps(start=Start.magnitude), weight_OI, x_TI, Unstructured(0.5)).mask_OI, wanda_OI)


def test_groups_that_do_not_fit_are_refused() -> None:
    weight_OI, x_TI = make(2, 10)
    for start in Start:
        with pytest.raises(UserError, match=r"2:4 does not fit .* 10 inputs"):
            prune(Swaps(start=start), weight_OI, x_TI, NM(2, 4))
