"""Magnitude pruning against a naive twin, and against the reference's own rule."""

import pytest
import torch

from prune.pruning.method import NoStatistic
from prune.pruning.methods.magnitude import Magnitude
from prune.pruning.sparsity import NM, Pattern, Unstructured

PATTERNS: list[Pattern] = [Unstructured(0.01), Unstructured(0.5), Unstructured(0.7), Unstructured(0.99), NM(1, 4), NM(2, 4)]


def make_weight(num_outputs: int, num_inputs: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(100 * num_outputs + num_inputs)
    return torch.randn(num_outputs, num_inputs, generator=generator).to(dtype)


def prune(weight_OI: torch.Tensor, pattern: Pattern) -> tuple[torch.Tensor, torch.Tensor]:
    pruned = Magnitude().prune(weight_OI, None, pattern, torch.Generator())
    assert pruned.error is None
    return pruned.weight_OI, pruned.mask_OI


def naive_mask(weight_OI: torch.Tensor, pattern: Pattern) -> torch.Tensor:
    """Places sorted by |W|, then by flat index; the first ones of the matrix, or of each group, go."""
    num_inputs = weight_OI.shape[1]
    flat = weight_OI.abs().flatten().tolist()
    places = range(len(flat))
    if isinstance(pattern, NM):
        groups, num = [places[start : start + pattern.m] for start in range(0, len(flat), pattern.m)], pattern.n
    else:
        groups, num = [places], int(len(flat) * pattern.ratio)
    chosen = {place for group in groups for place in sorted(group, key=lambda place: (flat[place], place))[:num]}
    return torch.tensor([place in chosen for place in places]).view(-1, num_inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", [(1, 4), (1, 20), (7, 12), (33, 64)], ids=str)
def test_masks_are_those_of_the_naive_twin(shape: tuple[int, int], pattern: Pattern, dtype: torch.dtype) -> None:
    weight_OI = make_weight(*shape, dtype)
    before_OI = weight_OI.clone()
    new_OI, mask_OI = prune(weight_OI, pattern)
    expected_OI = naive_mask(before_OI, pattern)
    assert torch.equal(mask_OI, expected_OI)
    assert torch.equal(new_OI, torch.where(expected_OI, torch.zeros_like(before_OI), before_OI))
    assert new_OI.dtype == dtype
    assert torch.equal(weight_OI, before_OI)


@pytest.mark.parametrize("pattern", [NM(4, 8), NM(3, 7)], ids=str)
def test_wider_groups(pattern: NM) -> None:
    weight_OI = make_weight(5, 6 * pattern.m)
    assert torch.equal(prune(weight_OI, pattern)[1], naive_mask(weight_OI, pattern))


def test_a_hand_worked_matrix() -> None:
    weight_OI = torch.tensor([[1.0, -4.0, 2.0, 3.0], [-5.0, 6.0, 0.5, -7.0]])
    assert prune(weight_OI, Unstructured(0.5))[0].tolist() == [[0, -4, 0, 0], [-5, 6, 0, -7]]
    assert prune(weight_OI, NM(2, 4))[0].tolist() == [[0, -4, 0, 3], [0, 6, 0, -7]]


def test_equal_weights_go_from_the_front() -> None:
    assert prune(torch.ones(2, 4), Unstructured(0.7))[1].int().tolist() == [[1, 1, 1, 1], [1, 0, 0, 0]]
    assert prune(-torch.ones(2, 4), NM(1, 2))[1].int().tolist() == [[1, 0, 1, 0], [1, 0, 1, 0]]


def test_weights_that_were_zero_already_count_as_removed() -> None:
    weight_OI = make_weight(8, 8)
    weight_OI[:, :3] = 0
    new_OI, mask_OI = prune(weight_OI, Unstructured(0.5))
    assert bool(mask_OI[:, :3].all())
    assert int(mask_OI.sum()) == int((new_OI == 0).sum()) == 32
    assert int(prune(weight_OI, Unstructured(0.25))[1].sum()) == 16


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.77])
def test_without_ties_the_reference_removes_exactly_the_threshold_element_more(ratio: float) -> None:
    weight_OI = make_weight(31, 57)
    score_OI = weight_OI.abs()
    assert len(set(score_OI.flatten().tolist())) == score_OI.numel()
    threshold = score_OI.flatten().sort().values[int(score_OI.numel() * ratio)]
    mask_OI = prune(weight_OI, Unstructured(ratio))[1]
    assert torch.equal(score_OI < threshold, mask_OI)
    assert torch.equal((score_OI <= threshold) & ~mask_OI, score_OI == threshold)
    assert int((score_OI <= threshold).sum()) == int(mask_OI.sum()) + 1


def test_in_low_precision_the_reference_overshoots_and_we_do_not() -> None:
    weight_OI = make_weight(128, 128, torch.bfloat16)
    score_OI = weight_OI.abs()
    threshold = score_OI.flatten().sort().values[8192]
    assert int((score_OI <= threshold).sum()) > 8193
    assert int(prune(weight_OI, Unstructured(0.5))[1].sum()) == 8192


def test_statistics_are_not_kept() -> None:
    statistic = Magnitude().start_statistic(4, torch.device("cpu"))
    statistic.add(torch.ones(2, 4))
    assert isinstance(statistic, NoStatistic)
    assert not Magnitude().needs_inputs
