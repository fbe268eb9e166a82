"""NoWag against a naive twin written from the formula."""

import pytest
import torch

from prune.pruning.methods.nowag import NoWag
from prune.pruning.sparsity import Pattern, Unstructured
from tests.pruning.methods.test_ria import PATTERNS, fed, make_inputs, make_weight, naive_mask


def naive_scores(weight: list[list[float]], x: list[list[float]]) -> list[list[float]]:
    """Columns to norm 1, then rows to norm 1, times the norms of the inputs, a weight at a time in Python's own numbers."""
    columns = [sum(row[j] ** 2 for row in weight) ** 0.5 for j in range(len(weight[0]))]
    weight = [[value / norm for value, norm in zip(row, columns, strict=True)] for row in weight]
    weight = [[value / sum(other**2 for other in row) ** 0.5 for value in row] for row in weight]
    norms = [sum(token[j] ** 2 for token in x) ** 0.5 for j in range(len(columns))]
    return [[abs(value) * norm for value, norm in zip(row, norms, strict=True)] for row in weight]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", [(1, 4), (7, 12), (17, 32)], ids=str)
def test_masks_are_those_of_the_naive_twin(shape: tuple[int, int], pattern: Pattern) -> None:
    weight_OI, x_TI = make_weight(*shape), make_inputs(50, shape[1])
    pruned = NoWag().prune(weight_OI, fed(x_TI), pattern, torch.Generator())
    expected_OI = naive_mask(naive_scores(weight_OI.tolist(), x_TI.tolist()), pattern)
    assert torch.equal(pruned.mask_OI, expected_OI)
    assert torch.equal(pruned.weight_OI, weight_OI.masked_fill(expected_OI, 0))
    squared_OI = (weight_OI * x_TI.square().sum(dim=0).sqrt()).square()
    assert pruned.error == pytest.approx(float((squared_OI * expected_OI).sum() / squared_OI.sum()))


def test_a_hand_worked_matrix() -> None:
    """Columns 3 4 and 0 5 and 4 3 over 5: 0.6 0 0.8 / 0.8 1 0.6; rows of norm 1 and root 2; inputs 1, 1, 2.

    Scores: 0.6 0 1.6 / 0.57 0.71 0.85.
    """
    weight_OI = torch.tensor([[3.0, 0.0, -4.0], [-4.0, 5.0, 3.0]])
    pruned = NoWag().prune(weight_OI, fed(torch.diag(torch.tensor([1.0, 1, 2]))), Unstructured(0.34), torch.Generator())
    assert pruned.mask_OI.tolist() == [[False, True, False], [True, False, False]]


def test_columns_and_rows_of_zeros_go_first() -> None:
    weight_OI = make_weight(4, 4)
    weight_OI[1], weight_OI[:, 2] = 0, 0
    pruned = NoWag().prune(weight_OI, fed(make_inputs(20, 4)), Unstructured(0.5), torch.Generator())
    assert bool(pruned.mask_OI[1].all()) and bool(pruned.mask_OI[:, 2].all()) and int(pruned.mask_OI.sum()) == 8
