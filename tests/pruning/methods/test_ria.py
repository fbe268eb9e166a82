"""RIA against a naive twin written from the formula."""

import pytest
import torch

from prune.errors import UserError
from prune.pruning.method import Pruned
from prune.pruning.methods.ria import RIA
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
    method = RIA(power=power)
    statistic = method.start_statistic(x_TI.shape[1], torch.device("cpu"))
    statistic.add(x_TI)
    return method.prune(weight_OI, statistic, pattern, torch.Generator())


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
