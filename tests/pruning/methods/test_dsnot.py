"""DSnoT against a naive twin, a row and a cycle at a time in Python's own numbers."""

import statistics

import pytest
import torch
from torch import Tensor

from prune.errors import UserError
from prune.pruning.method import Method, Statistic
from prune.pruning.methods.dsnot import DSnoT, DSnoTConfig, InputMoments
from prune.pruning.methods.sparsegpt import SparseGPT
from prune.pruning.methods.start import Start
from prune.pruning.methods.wanda import Wanda
from prune.pruning.sparsity import NM, Pattern, Unstructured
from tests.pruning.methods.test_swaps import EACH_PATTERN, EACH_START, as_mask, make, prune

SUM_OVER = 7


def naive_row(
    weight: list[float],
    mask: list[bool],
    x: list[list[float]],
    pattern: Pattern,
    *,
    max_cycles: int = 50,
    threshold: float = 0.1,
    power: float = 1.0,
    same_sign: bool | None = None,
) -> set[int]:
    """One swap after another of the row's removed inputs, as the class describes it."""
    columns = list(zip(*x, strict=True))
    expected = [w * SUM_OVER * statistics.fmean(column) for w, column in zip(weight, columns, strict=True)]
    gain = [abs(e) / statistics.pvariance(column) ** power for e, column in zip(expected, columns, strict=True)]
    score = [abs(w) * sum(value**2 for value in column) ** 0.5 for w, column in zip(weight, columns, strict=True)]
    removed = {j for j, is_removed in enumerate(mask) if is_removed}
    fresh_back, fresh_out = set(removed), set(range(len(weight))) - removed
    first = sum(expected[j] for j in removed)
    for _ in range(max_cycles):
        error = sum(expected[j] for j in removed)
        back_candidates = [j for j in fresh_back if expected[j] * error > 0]
        if abs(error) <= threshold or not back_candidates:
            break
        back = max(back_candidates, key=lambda j: gain[j])
        if isinstance(pattern, NM):
            out_candidates = [j for j in fresh_out if j // pattern.m == back // pattern.m]
        else:
            out_candidates = [j for j in fresh_out if expected[j] * error < 0]
        if not out_candidates:
            break
        out = min(out_candidates, key=lambda j: score[j])
        if (isinstance(pattern, NM) if same_sign is None else same_sign) and (
            (error + expected[out] - expected[back]) * first <= 0
        ):
            break
        fresh_back.remove(back)
        fresh_out.remove(out)
        removed = removed - {back} | {out}
    return removed


@EACH_PATTERN
@pytest.mark.parametrize(
    "knobs",
    [{}, {"max_cycles": 2}, {"threshold": 10.0}, {"power": 0.0}, {"same_sign": True}, {"same_sign": False}],
    ids=str,
)
def test_masks_are_those_of_the_naive_twin(pattern: Pattern, knobs: dict[str, object]) -> None:
    weight_OI, x_TI = make(9, 16)
    start_OI = prune(Wanda(), weight_OI, x_TI, pattern).mask_OI
    rows = [
        naive_row(weight, mask, x_TI.tolist(), pattern, **knobs)  # type: ignore[arg-type]
        for weight, mask in zip(weight_OI.tolist(), start_OI.tolist(), strict=True)
    ]
    pruned = prune(DSnoT(sum_over=SUM_OVER, **knobs), weight_OI, x_TI, pattern)  # type: ignore[arg-type]
    assert torch.equal(pruned.mask_OI, as_mask(rows, 16))
    assert torch.equal(pruned.weight_OI, weight_OI.masked_fill(pruned.mask_OI, 0))
    assert not torch.equal(pruned.mask_OI, start_OI)


def test_a_hand_worked_row() -> None:
    """Means 1, 1, 1, -1, variances 1, 4, 1, 1; removed are inputs 0 and 1 with an error of 3 + 4 = 7.

    Back comes 0 (3 / 1 against 4 / 4); of the kept with a negative product, 2 (-6) and 3 (-7 x -1 = 7, no), out goes 2.
    Then the error is 4 - 6 = -2: nothing that is removed and has a negative product is fresh, so the row is done.
    """
    weight_OI = torch.tensor([[3.0, 4.0, -6.0, -7.0]])
    mean_I, spread_I = torch.tensor([1.0, 1, 1, -1]), torch.tensor([1.0, 2, 1, 1])
    x_TI = torch.stack([mean_I + spread_I, mean_I - spread_I])
    before = prune(DSnoT(max_cycles=0, start=Start.magnitude), weight_OI, x_TI, Unstructured(0.5))
    assert before.mask_OI.tolist() == [[True, True, False, False]]
    after = prune(DSnoT(start=Start.magnitude, sum_over=1), weight_OI, x_TI, Unstructured(0.5))
    assert after.mask_OI.tolist() == [[False, True, True, False]]
    squared = [36, 160, 144, 196]
    assert after.error == pytest.approx((160 + 144) / sum(squared))


@EACH_START
@EACH_PATTERN
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_count_stays_and_mean_errors_fall(start: Start, pattern: Pattern, dtype: torch.dtype) -> None:
    weight_OI, x_TI = make(24, 32)
    weight_OI, x_TI = weight_OI.to(dtype), x_TI.to(dtype)
    before_OI = prune(DSnoT(start=start, max_cycles=0), weight_OI, x_TI, pattern).mask_OI
    pruned = prune(DSnoT(start=start, max_cycles=1), weight_OI, x_TI, pattern)
    size = pattern.m if isinstance(pattern, NM) else 32
    assert torch.equal(*(mask_OI.unflatten(1, (-1, size)).sum(dim=2) for mask_OI in (before_OI, pruned.mask_OI)))
    mean_I = x_TI.double().mean(dim=0)
    before_O, after_O = ((weight_OI.double() * mask_OI) @ mean_I for mask_OI in (before_OI, pruned.mask_OI))
    moved_O = (before_OI != pruned.mask_OI).any(dim=1)
    assert bool(moved_O.any()) and pruned.weight_OI.dtype == dtype
    fell_O = (after_O - before_O) * before_O.sign() < 0
    if not isinstance(pattern, NM):  # there what goes may be of any sign
        assert bool(fell_O[moved_O].all())


@EACH_PATTERN
def test_without_a_cycle_it_is_the_mask_of_the_start(pattern: Pattern) -> None:
    weight_OI, x_TI = make(6, 16)
    methods: dict[Start, Method] = {Start.wanda: Wanda(), Start.sparsegpt: SparseGPT()}
    for start, method in methods.items():
        pruned = prune(DSnoT(start=start, max_cycles=0), weight_OI, x_TI, pattern)
        assert torch.equal(pruned.mask_OI, prune(method, weight_OI, x_TI, pattern).mask_OI)
        assert torch.equal(pruned.weight_OI, weight_OI.masked_fill(pruned.mask_OI, 0))


def test_inputs_that_are_always_0_or_always_the_same() -> None:
    """One that is 0 never moves; one that never varies comes back first, as its variance of 0 makes its gain infinite."""
    weight_OI, x_TI = make(8, 8)
    weight_OI[:, 0], weight_OI[:, 1] = 1e-3, 2e-3
    x_TI[:, 0], x_TI[:, 1] = 0, 3
    pruned = prune(DSnoT(threshold=0), weight_OI, x_TI, Unstructured(0.5))
    assert bool(pruned.mask_OI[:, 0].all())
    assert int((~pruned.mask_OI[:, 1]).sum()) > 0


def fed(parts: list[Tensor], weights: list[Tensor] | None = None) -> InputMoments:
    moments = InputMoments(parts[0].shape[1], torch.device("cpu"))
    for index, part_TI in enumerate(parts):
        moments.add(part_TI, None if weights is None else weights[index])
    return moments


def test_moments_are_those_of_all_tokens_in_whatever_parts_they_come() -> None:
    _, x_TI = make(1, 6)
    x_TI = torch.cat([x_TI] * 40)
    parts = [x_TI[:1], x_TI[1:1], x_TI[1:300], x_TI[300:]]
    for moments in (fed([x_TI]), fed(parts)):
        torch.testing.assert_close(moments.mean_I, x_TI.mean(dim=0), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(moments.variance(), x_TI.var(dim=0, correction=0), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(moments.norms(), x_TI.square().sum(dim=0).sqrt(), rtol=1e-12, atol=1e-12)


def test_the_variance_of_an_input_with_a_large_mean_is_not_lost() -> None:
    generator = torch.Generator().manual_seed(0)
    x_TI = torch.randn(2000, 3, generator=generator) * 0.01 + 300
    moments = fed([x_TI[:700], x_TI[700:]])
    torch.testing.assert_close(moments.variance(), x_TI.double().var(dim=0, correction=0), rtol=1e-9, atol=0)


def test_a_token_that_counts_twice_is_one_that_comes_twice() -> None:
    _, x_TI = make(1, 6)
    weight_T = torch.ones(len(x_TI)).index_fill(0, torch.tensor([2, 5]), 2)
    weighted, twice = fed([x_TI], [weight_T]), fed([torch.cat([x_TI, x_TI[[2, 5]]])])
    assert weighted.total_weight == twice.total_weight
    for ours, theirs in (
        (weighted.mean_I, twice.mean_I),
        (weighted.variance(), twice.variance()),
        (weighted.norms(), twice.norms()),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("start", [Start.wanda, Start.sparsegpt])
def test_statistics_can_wait_elsewhere(start: Start) -> None:
    weight_OI, x_TI = make(4, 8)
    method = DSnoT(start=start)
    statistic: Statistic = method.start_statistic(8, torch.device("cpu"))
    statistic.add(x_TI)
    before = method.prune(weight_OI, statistic, Unstructured(0.5), torch.Generator())
    size = statistic.num_bytes  # type: ignore[attr-defined]
    statistic.move(torch.device("cpu"))  # type: ignore[attr-defined]
    assert torch.equal(method.prune(weight_OI, statistic, Unstructured(0.5), torch.Generator()).mask_OI, before.mask_OI)
    assert size == 8 * 8 + 2 * 8 * 8 + (2 * 8 * 8 * 8 if start is Start.sparsegpt else 0)


@pytest.mark.parametrize(
    ("knob", "value"), [("max_cycles", -1), ("sum_over", 0), ("threshold", -0.1), ("threshold", float("nan")), ("power", -1)]
)
def test_impossible_knobs_are_refused(knob: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"method\.{knob}={value} is not possible"):
        DSnoTConfig(**{knob: value})  # type: ignore[arg-type]
