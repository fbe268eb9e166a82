"""Random and dense: the controls."""

import pytest
import torch

from prune.pruning.methods.random import Random
from prune.pruning.sparsity import NM, Pattern, Unstructured


def draw_mask(pattern: Pattern, seed: int, shape: tuple[int, int] = (13, 28)) -> torch.Tensor:
    weight_OI = torch.ones(shape, dtype=torch.bfloat16)
    pruned = Random().prune(weight_OI, None, pattern, torch.Generator().manual_seed(seed))
    assert bool((weight_OI == 1).all())
    assert pruned.weight_OI.dtype == torch.bfloat16
    assert pruned.error is None
    assert torch.equal(pruned.weight_OI == 0, pruned.mask_OI)
    return pruned.mask_OI


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.5, 0.99])
def test_the_count_of_the_matrix_is_exact(ratio: float) -> None:
    assert int(draw_mask(Unstructured(ratio), 0).sum()) == int(13 * 28 * ratio)


@pytest.mark.parametrize("pattern", [NM(1, 4), NM(2, 4), NM(3, 7)], ids=str)
def test_the_count_of_each_group_is_exact(pattern: NM) -> None:
    assert bool((draw_mask(pattern, 0).view(-1, pattern.m).sum(dim=1) == pattern.n).all())


def test_the_generator_alone_decides() -> None:
    pattern = Unstructured(0.5)
    assert torch.equal(draw_mask(pattern, 3), draw_mask(pattern, 3))
    assert not torch.equal(draw_mask(pattern, 3), draw_mask(pattern, 4))
    generator = torch.Generator().manual_seed(3)
    masks = [Random().prune(torch.ones(9, 9), None, pattern, generator).mask_OI for _ in range(2)]
    assert not torch.equal(*masks)


@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=str)
def test_every_place_is_as_likely(pattern: Pattern) -> None:
    share_OI = torch.stack([draw_mask(pattern, seed, (4, 8)).double() for seed in range(1000)]).mean(dim=0)
    assert float((share_OI - 0.5).abs().max()) < 5 * 0.5 / 1000**0.5
