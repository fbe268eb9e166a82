"""RIA against a naive twin written from the formula."""

from collections.abc import Sequence
from itertools import permutations

import pytest
import torch

from prune.errors import UserError
from prune.pruning.method import Pruned, Statistic
from prune.pruning.methods.ria import RIA
from prune.pruning.solver.permutation import Permutation, assigned_order, best_order, dealt_order, kept_score
from prune.pruning.sparsity import NM, Pattern, Unstructured

PATTERNS: list[Pattern] = [Unstructured(0.01), Unstructured(0.5), Unstructured(0.9), NM(1, 4), NM(2, 4)]


def make_weight(num_outputs: int, num_inputs: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(100 * num_outputs + num_inputs)
    return torch.randn(num_outputs, num_inputs, generator=generator, dtype=torch.float64).to(dtype)


def make_inputs(num_tokens: int, num_inputs: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Inputs of very different norms."""
    generator = torch.Generator().manual_seed(num_inputs)
    scale_I = torch.rand(num_inputs, generator=generator).mul(3).exp()
    return (torch.randn(num_tokens, num_inputs, generator=generator) * scale_I).to(dtype)


def prune(weight_OI: torch.Tensor, x_TI: torch.Tensor, pattern: Pattern, power: float = 0.5) -> Pruned:
    return RIA(power=power).prune(weight_OI, fed(x_TI), pattern, torch.Generator())


def fed(x_TI: torch.Tensor) -> Statistic:
    statistic = RIA().start_statistic(x_TI.shape[1], torch.device("cpu"))
    statistic.add(x_TI)
    return statistic


def naive_scores(weight: list[list[float]], x: list[list[float]], power: float) -> list[list[float]]:
    """The formula, one weight at a time, in Python's own numbers."""
    rows, columns = range(len(weight)), range(len(weight[0]))
    norms = [sum(token[j] ** 2 for token in x) ** 0.5 for j in columns]
    in_column = [sum(abs(weight[i][j]) for i in rows) for j in columns]
    in_row = [sum(abs(weight[i][j]) for j in columns) for i in rows]
    return [
        [(abs(weight[i][j]) / in_column[j] + abs(weight[i][j]) / in_row[i]) * norms[j] ** power for j in columns]
        for i in rows
    ]


def naive_mask(scores: list[list[float]], pattern: Pattern) -> torch.Tensor:
    """The lowest of the whole matrix, or of each group, sorted by score and then by position."""
    mask_OI = torch.zeros(len(scores), len(scores[0]), dtype=torch.bool)
    places = [(i, j) for i in range(len(scores)) for j in range(len(scores[0]))]
    size, num = (pattern.m, pattern.n) if isinstance(pattern, NM) else (len(places), int(len(places) * pattern.ratio))
    for start in range(0, len(places), size):
        for i, j in sorted(places[start : start + size], key=lambda place: scores[place[0]][place[1]])[:num]:
            mask_OI[i, j] = True
    return mask_OI


@pytest.mark.parametrize("power", [0.5, 0.0, 1.0])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", [(1, 4), (7, 12), (17, 64)], ids=str)
def test_masks_are_those_of_the_naive_twin(shape: tuple[int, int], pattern: Pattern, power: float) -> None:
    weight_OI, x_TI = make_weight(*shape), make_inputs(50, shape[1])
    pruned = prune(weight_OI, x_TI, pattern, power)
    expected_OI = naive_mask(naive_scores(weight_OI.tolist(), x_TI.tolist(), power), pattern)
    assert torch.equal(pruned.mask_OI, expected_OI)
    assert torch.equal(pruned.weight_OI, weight_OI.masked_fill(expected_OI, 0))


def test_low_precision_is_scored_in_float32() -> None:
    weight_OI, x_TI = make_weight(9, 16, torch.bfloat16), make_inputs(50, 16, torch.bfloat16)
    pruned = prune(weight_OI, x_TI, Unstructured(0.5))
    assert pruned.weight_OI.dtype == torch.bfloat16
    assert torch.equal(pruned.mask_OI, naive_mask(naive_scores(weight_OI.tolist(), x_TI.tolist(), 0.5), Unstructured(0.5)))


def test_a_hand_worked_matrix() -> None:
    """Input norms 1, 4, 9, roots 1, 2, 3; column sums 4, 4, 8; row sums 8, 8.

    Shares of column and row: 1/4 + 1/8, 3/4 + 3/8, 4/8 + 4/8; 3/4 + 3/8, 1/4 + 1/8, 4/8 + 4/8.
    Scores: 0.375 2.25 3 / 1.125 0.75 3.
    """
    x_TI = torch.tensor([[1.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 9.0]])
    weight_OI = torch.tensor([[1.0, -3.0, 4.0], [3.0, -1.0, -4.0]])
    pruned = prune(weight_OI, x_TI, Unstructured(0.5))
    assert pruned.weight_OI.tolist() == [[0, -3, 4], [0, 0, -4]]
    squares = [1, 144, 1296, 9, 16, 1296]
    assert pruned.error == pytest.approx((1 + 9 + 16) / sum(squares))
    assert prune(weight_OI, x_TI, NM(1, 3)).mask_OI.int().tolist() == [[1, 0, 0], [0, 1, 0]]


def test_rows_and_columns_of_zeros_go_first() -> None:
    weight_OI = make_weight(4, 4)
    weight_OI[1], weight_OI[:, 2] = 0, 0
    pruned = prune(weight_OI, make_inputs(20, 4), Unstructured(0.5))
    assert bool(pruned.mask_OI[1].all()) and bool(pruned.mask_OI[:, 2].all())
    assert int(pruned.mask_OI.sum()) == 8


def test_unusable_weights_and_inputs_are_errors() -> None:
    x_TI = make_inputs(20, 4)
    with pytest.raises(UserError, match="infinite or not a number"):
        prune(torch.full((2, 4), float("nan")), x_TI, Unstructured(0.5))
    with pytest.raises(UserError, match="calibration inputs of this linear are infinite"):
        prune(make_weight(2, 4), x_TI.fill_(float("inf")), Unstructured(0.5))
    with pytest.raises(UserError, match="no real token"):
        prune(make_weight(2, 4), x_TI[:0], Unstructured(0.5))


def naive_kept(score_OI: torch.Tensor, order: Sequence[int], pattern: NM) -> float:
    """What the M - N largest of each group add up to, row by row."""
    groups = [order[start : start + pattern.m] for start in range(0, len(order), pattern.m)]
    sizes = [sorted((row[j] for j in group), reverse=True) for row in score_OI.tolist() for group in groups]
    return sum(sum(size[: pattern.m - pattern.n]) for size in sizes)


def naive_dealt(score_OI: torch.Tensor, group_size: int) -> list[int]:
    """To and fro: the first part forwards, the second backwards, and so on."""
    totals = score_OI.sum(dim=0).tolist()
    ranked = sorted(range(len(totals)), key=totals.__getitem__)
    num_groups = len(ranked) // group_size
    parts = [ranked[start : start + num_groups] for start in range(0, len(ranked), num_groups)]
    parts = [part[::-1] if place % 2 else part for place, part in enumerate(parts)]
    return [part[group] for group in range(num_groups) for part in parts]


def naive_assigned(score_OI: torch.Tensor, order: list[int], pattern: NM) -> list[int]:
    """Of each place in turn all ways to deal its inputs out to the groups, and the best of them."""
    for place in range(pattern.m):
        places = range(place, len(order), pattern.m)
        tries = []
        for given in permutations([order[at] for at in places]):
            tried = list(order)
            for at, column in zip(places, given, strict=True):
                tried[at] = column
            tries.append(tried)
        order = max(tries, key=lambda tried: naive_kept(score_OI, tried, pattern))
    return order


PERMUTED = pytest.mark.parametrize("permutation", [Permutation.heuristic, Permutation.lsa], ids=lambda one: one.value)


def channels(num_outputs: int, num_inputs: int) -> torch.Tensor:
    """Scores of inputs of which the consecutive ones are alike, so that another order keeps more."""
    generator = torch.Generator().manual_seed(num_inputs)
    scale_I = (torch.arange(num_inputs) // 4 + 1.0).pow(2)
    return torch.rand(num_outputs, num_inputs, generator=generator, dtype=torch.float64) * scale_I


@pytest.mark.parametrize("pattern", [NM(2, 4), NM(1, 4), NM(3, 4)], ids=str)
def test_orders_are_those_of_all_ways_to_deal_inputs_out(pattern: NM) -> None:
    score_OI = make_weight(5, 12).abs()
    dealt = dealt_order(score_OI, pattern.m)
    assert dealt.tolist() == naive_dealt(score_OI, pattern.m)
    assigned = assigned_order(score_OI, dealt, pattern)
    assert assigned.tolist() == naive_assigned(score_OI, dealt.tolist(), pattern)
    before, after = (naive_kept(score_OI, order.tolist(), pattern) for order in (dealt, assigned))
    assert after > before and kept_score(score_OI, assigned, pattern) == pytest.approx(after)


@PERMUTED
@pytest.mark.parametrize("pattern", [NM(2, 4), NM(4, 8), NM(1, 2)], ids=str)
def test_a_permuted_mask_keeps_more_and_is_nm_in_its_order(permutation: Permutation, pattern: NM) -> None:
    weight_OI, x_TI = channels(6, 16), make_inputs(50, 16)
    score_OI = torch.tensor(naive_scores(weight_OI.tolist(), x_TI.tolist(), 0.5), dtype=torch.float64)
    methods = RIA(permutation=permutation), RIA()
    pruned, plain = (method.prune(weight_OI, fed(x_TI), pattern, torch.Generator()) for method in methods)
    order_I = best_order(score_OI, pattern, permutation)
    assert sorted(order_I.tolist()) == list(range(16))
    assert torch.equal(pruned.mask_OI[:, order_I], naive_mask(score_OI[:, order_I].tolist(), pattern))
    assert torch.equal(pruned.weight_OI, weight_OI.masked_fill(pruned.mask_OI, 0))  # in the order of the model
    kept, kept_plain = (float((score_OI * ~mask_OI).sum()) for mask_OI in (pruned.mask_OI, plain.mask_OI))
    as_is = order_I.tolist() == list(range(16))
    assert kept == kept_plain if as_is else kept > kept_plain
    assert not as_is or pattern == NM(4, 8)
    assert int(pruned.mask_OI.sum()) == int(plain.mask_OI.sum()) == 96 * pattern.n // pattern.m


def test_an_order_that_keeps_less_is_not_taken() -> None:
    """One row whose consecutive pairs are the best already: what is dealt out keeps less, so the model's order stays."""
    score_OI = torch.tensor([[1.0, 9.0, 8.0, 2.0]])
    assert naive_kept(score_OI, naive_dealt(score_OI, 2), NM(1, 2)) == naive_kept(score_OI, range(4), NM(1, 2)) == 17
    assert best_order(score_OI, NM(1, 2), Permutation.heuristic).tolist() == [0, 1, 2, 3]
    score_OI = torch.tensor([[9.0, 0.0, 9.0, 0.0], [0.0, 4.0, 0.0, 4.0]])
    assert best_order(score_OI, NM(1, 2), Permutation.lsa).tolist() == [0, 1, 2, 3]


@PERMUTED
def test_unstructured_masks_know_no_groups(permutation: Permutation) -> None:
    weight_OI, x_TI = make_weight(7, 12), make_inputs(50, 12)
    pruned = RIA(permutation=permutation).prune(weight_OI, fed(x_TI), Unstructured(0.5), torch.Generator())
    assert torch.equal(pruned.mask_OI, prune(weight_OI, x_TI, Unstructured(0.5)).mask_OI)


@PERMUTED
def test_groups_that_do_not_fit_are_refused_before_they_are_dealt(permutation: Permutation) -> None:
    with pytest.raises(UserError, match=r"2:4 does not fit .* 10 inputs"):
        RIA(permutation=permutation).prune(torch.ones(2, 10), fed(make_inputs(9, 10)), NM(2, 4), torch.Generator())
