"""Patterns, and masks with exact counts and a rule for ties."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prune.config.sparsity import NMConfig, UnstructuredConfig
from prune.errors import UserError
from prune.pruning.sparsity import (
    NM,
    Unstructured,
    build_pattern,
    kth_lowest,
    lowest_in_groups,
    lowest_in_matrix,
    lowest_in_rows,
)


def naive_lowest(scores: list[float], num: int) -> list[bool]:
    """Python's own stable sort."""
    chosen = sorted(range(len(scores)), key=scores.__getitem__)[:num]
    return [index in chosen for index in range(len(scores))]


@st.composite
def matrices(draw: st.DrawFn) -> torch.Tensor:
    """Small matrices with many equal entries."""
    num_rows, num_columns = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    values = st.sampled_from([0.0, 1.0, 2.0, 2.5, float("inf")])
    flat = draw(st.lists(values, min_size=num_rows * num_columns, max_size=num_rows * num_columns))
    return torch.tensor(flat).view(num_rows, num_columns)


@settings(max_examples=200)
@given(matrices(), st.data())
def test_lowest_in_rows_is_the_head_of_a_stable_sort(score_RC: torch.Tensor, data: st.DataObject) -> None:
    num = data.draw(st.integers(0, score_RC.shape[1]))
    expected = [naive_lowest(row, num) for row in score_RC.tolist()]
    assert lowest_in_rows(score_RC, num).tolist() == expected


@settings(max_examples=100)
@given(matrices(), st.data())
def test_lowest_in_matrix_is_the_head_of_a_stable_sort(score_OI: torch.Tensor, data: st.DataObject) -> None:
    num = data.draw(st.integers(0, score_OI.numel()))
    assert lowest_in_matrix(score_OI, num).flatten().tolist() == naive_lowest(score_OI.flatten().tolist(), num)


@pytest.mark.parametrize(("n", "m"), [(1, 4), (2, 4), (3, 4), (4, 8), (3, 7), (1, 2), (20, 21)])
def test_lowest_in_groups_takes_n_of_each_group(n: int, m: int) -> None:
    score_OI = torch.randint(0, 4, (5, 3 * m), generator=torch.Generator().manual_seed(m)).float()
    expected = [
        [removed for start in range(0, 3 * m, m) for removed in naive_lowest(row[start : start + m], n)]
        for row in score_OI.tolist()
    ]
    assert lowest_in_groups(score_OI, NM(n, m)).tolist() == expected


def test_masks_of_a_hand_worked_matrix() -> None:
    score_OI = torch.tensor([[4.0, 1.0, 3.0, 2.0], [5.0, 5.0, 0.0, 5.0]])
    assert lowest_in_rows(score_OI, 2).int().tolist() == [[0, 1, 0, 1], [1, 0, 1, 0]]
    assert lowest_in_matrix(score_OI, 3).int().tolist() == [[0, 1, 0, 1], [0, 0, 1, 0]]
    assert lowest_in_groups(score_OI, NM(1, 2)).int().tolist() == [[0, 1, 0, 1], [1, 0, 1, 0]]


def test_a_transposed_view_gives_the_same_mask() -> None:
    score_OI = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    view_OI = score_OI.T.contiguous().T
    assert torch.equal(lowest_in_matrix(view_OI, 20), lowest_in_matrix(score_OI, 20))
    assert torch.equal(lowest_in_groups(view_OI, NM(2, 4)), lowest_in_groups(score_OI, NM(2, 4)))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(Unstructured(0.5), "50%"), (Unstructured(0.29), "29%"), (Unstructured(0.125), "12.5%"), (NM(2, 4), "2:4")],
)
def test_patterns_are_written_as_people_do(pattern: Unstructured | NM, text: str) -> None:
    assert str(pattern) == text


def test_counts_are_rounded_down() -> None:
    assert [Unstructured(0.5).num_removed(num) for num in (1, 2, 7, 4096)] == [0, 1, 3, 2048]
    assert NM(3, 4).ratio == 0.75


def test_patterns_come_from_their_configurations() -> None:
    assert build_pattern(UnstructuredConfig(ratio=0.3)) == Unstructured(0.3)
    assert build_pattern(NMConfig(n=4, m=8)) == NM(4, 8)


def test_a_group_that_does_not_fit_is_explained() -> None:
    with pytest.raises(UserError, match=r"3:7 does not fit layers\.0\.mlp\.up_proj: its 64 inputs .*: 2, 4, 8, 16, 32, 64"):
        NM(3, 7).check(64, "layers.0.mlp.up_proj")
    with pytest.raises(UserError, match="no group size up to 64 fits"):
        NM(2, 4).check(67, "the linear")
    NM(2, 4).check(64, "the linear")
    Unstructured(0.5).check(67, "the linear")


@pytest.mark.parametrize("ratio", [0.0, 1.0, -1.0, 1.5, float("nan")])
def test_impossible_ratios_are_refused(ratio: float) -> None:
    with pytest.raises(UserError, match=r"sparsity\.ratio"):
        Unstructured(ratio)


@pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 4), (0, 4), (-1, 4)])
def test_impossible_groups_are_refused(n: int, m: int) -> None:
    with pytest.raises(UserError, match=f"{n}:{m}"):
        NM(n, m)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "scores",
    [
        lambda uniform: uniform,
        lambda uniform: uniform.sort().values,
        lambda uniform: (uniform * 5).floor(),
        torch.zeros_like,
        lambda uniform: uniform.masked_fill(uniform > 0.6, torch.inf),
        lambda uniform: uniform.masked_fill(torch.arange(len(uniform)) % 5 == 0, -1),
        lambda uniform: torch.where(torch.arange(len(uniform)) < len(uniform) // 2, uniform, uniform + 1e6),
    ],
    ids=["uniform", "sorted", "five values", "equal", "infinite", "every fifth", "two heaps"],
)
def test_the_kth_of_many_scores_is_that_of_a_sort(scores: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    score_C = scores(torch.rand(70_001, generator=torch.Generator().manual_seed(0), dtype=dtype))
    expected_C = score_C.sort().values
    for num in (1, 2, 700, 21_000, 35_000, 49_001, 70_000, 70_001):
        assert float(kth_lowest(score_C[None], num)) == float(expected_C[num - 1])
