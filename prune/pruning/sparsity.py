"""Patterns of sparsity, and masks that remove exactly the asked number of weights.

Shapes: O out, I in, R rows of scores that are compared with each other, C columns. In every mask True = removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from prune.config.sparsity import NMConfig, SparsityConfig, UnstructuredConfig
from prune.errors import UserError
from prune.lazy import torch
from prune.pruning.linear_checks import check_groups

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Unstructured:
    """Any weights may be removed, up to a ratio of those that a method compares with each other."""

    ratio: float
    preserve_zeros: bool = False
    """Weights that are 0 are removed first, and stay 0 even where there are more than asked for."""
    group_size: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise UserError(f"sparsity.ratio={self.ratio} is not possible: it must lie between 0 and 1, both excluded.")

    def __str__(self) -> str:
        return f"{100 * self.ratio:.10g}%"

    def num_removed(self, num_weights: int) -> int:
        """How many of `num_weights` are removed: the product with the ratio, rounded down."""
        return int(num_weights * self.ratio)

    def check(self, num_inputs: int, name: str) -> None:
        """Nothing to check: a ratio fits every linear."""


@dataclass(frozen=True)
class NM:
    """Of every `m` consecutive inputs of an output `n` are removed; 2:4 removes two of four."""

    n: int
    m: int
    preserve_zeros: bool = False
    """As for `Unstructured`."""

    def __post_init__(self) -> None:
        if not 0 < self.n < self.m:
            raise UserError(f"sparsity {self.n}:{self.m} is not possible: n of every m weights are removed, so 0 < n < m.")

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def ratio(self) -> float:
        """Share of the weights that is removed."""
        return self.n / self.m

    @property
    def group_size(self) -> int:
        """Inputs in a group, which loses a fixed number."""
        return self.m

    def check(self, num_inputs: int, name: str) -> None:
        """Make sure that the inputs of the linear `name` are whole groups.

        Raises:
            UserError: `m` does not divide `num_inputs`.
        """
        check_groups(self.n, self.m, num_inputs, name)


Pattern = Unstructured | NM


def build_pattern(config: SparsityConfig) -> Pattern:
    """The pattern that a configuration asks for."""
    if isinstance(config, UnstructuredConfig):
        return Unstructured(config.ratio)
    assert isinstance(config, NMConfig), type(config)
    return NM(config.n, config.m)


def lowest_in_rows(score_RC: Tensor, num: int) -> Tensor:
    """Bool R x C, True at exactly the `num` lowest scores of each row; of equal scores the lower columns go first.

    Equal to the first `num` of a stable sort, from a k-th value instead: everything up to it, or where that is too much,
    everything below it, and as many of those equal to it as are still missing. Scores must not be NaN.
    """
    num_columns = score_RC.shape[1]
    assert 0 <= num <= num_columns, (num, num_columns)
    if num == 0 or score_RC.shape[0] == 0:
        return torch.zeros_like(score_RC, dtype=torch.bool)
    threshold_R1 = kth_lowest(score_RC, num)
    if score_RC.device.type != "cpu":  # what follows would have to wait for the device
        return _lowest_among_equals(score_RC, threshold_R1, num)
    at_most_RC = score_RC <= threshold_R1
    if int(at_most_RC.count_nonzero()) != num * len(score_RC):
        too_many_R = at_most_RC.sum(dim=1) != num
        at_most_RC[too_many_R] = _lowest_among_equals(score_RC[too_many_R], threshold_R1[too_many_R], num)
    return at_most_RC


def _lowest_among_equals(score_RC: Tensor, threshold_R1: Tensor, num: int) -> Tensor:
    below_RC = score_RC < threshold_R1
    equal_RC = score_RC == threshold_R1
    num_missing_R1 = num - below_RC.sum(dim=1, keepdim=True)
    first_RC = equal_RC.cumsum(dim=1, dtype=torch.int32) <= num_missing_R1
    return below_RC | (equal_RC & first_RC)


def lowest_in_matrix(score_OI: Tensor, num: int) -> Tensor:
    """Bool O x I, True at exactly the `num` lowest scores of the matrix; of equal scores the lower flat index goes first."""
    if num == 0 or score_OI.device.type != "cpu":
        return lowest_in_rows(score_OI.reshape(1, -1), num).view(score_OI.shape)
    is_transposed = score_OI.stride(0) < score_OI.stride(1)
    score = score_OI.T if is_transposed else score_OI  # as it lies in memory
    threshold = kth_lowest(score.reshape(1, -1), num)
    at_most = score <= threshold
    if num_too_many := int(at_most.count_nonzero()) - num:
        rows, columns = (score == threshold).nonzero(as_tuple=True)
        flat_index = columns * len(score) + rows if is_transposed else rows * score.shape[1] + columns
        last = flat_index.topk(num_too_many).indices
        at_most[rows[last], columns[last]] = False
    return at_most.T if is_transposed else at_most


def lowest(score_OI: Tensor, pattern: Pattern) -> Tensor:
    """Bool O x I, True at the lowest scores: of each group for N:M, else of the whole matrix."""
    if isinstance(pattern, NM):
        return lowest_in_groups(score_OI, pattern)
    return lowest_in_matrix(score_OI, pattern.num_removed(score_OI.numel()))


def zeros_to_keep(weight_OI: Tensor, pattern: Pattern) -> Tensor | None:
    """Bool O x I, True where a weight is 0 and must stay so; None where the pattern does not ask for it."""
    return weight_OI == 0 if pattern.preserve_zeros else None


def smallest(size_OI: Tensor, pattern: Pattern, zero_OI: Tensor | None) -> Tensor:
    """As `lowest`, of sizes of at least 0; True at all of `zero_OI`, which go first, too."""
    if zero_OI is None:
        return lowest(size_OI, pattern)
    return lowest(size_OI.masked_fill(zero_OI, -1), pattern).logical_or_(zero_OI)


def lowest_in_groups(score_OI: Tensor, pattern: NM, name: str = "the linear") -> Tensor:
    """Bool O x I, True at the `n` lowest scores of each group of `m` inputs; of equal scores the lower input goes first.

    Raises:
        UserError: `m` does not divide I.
    """
    pattern.check(score_OI.shape[1], name)
    return lowest_in_rows(score_OI.reshape(-1, pattern.m), pattern.n).view(score_OI.shape)


def count_ties(score_OI: Tensor, mask_OI: Tensor, weight_OI: Tensor, width: int | None = None) -> int:
    """How many removed weights other than 0 have the score of a kept one that they were compared with: order decides there.

    `width` columns of a row were compared with each other; None: the whole matrix. The removed scores are the lowest, so a
    tie is one with the lowest kept score.
    """
    kept_OI = score_OI.masked_fill(mask_OI, torch.inf)
    if width is None:
        tied_OI = score_OI == kept_OI.amin()
    else:
        lowest_RC = kept_OI.reshape(-1, width).amin(dim=1, keepdim=True)
        tied_OI = (score_OI.reshape(-1, width) == lowest_RC).view(score_OI.shape)
    return int(weight_OI[tied_OI.logical_and_(mask_OI)].count_nonzero())


def kth_lowest(score_RC: Tensor, num: int) -> Tensor:
    """The `num`-th lowest score of each row, R x 1; the lowest is the first. Scores must not be NaN.

    On the CPU NumPy's partition finds it with vector instructions, 8 to 13 times as fast as `torch.kthvalue` for rows of 640
    to 262,144 float32 scores (one thread, AVX2).
    """
    if score_RC.device.type == "cpu" and score_RC.dtype in (torch.float32, torch.float64):
        if len(score_RC) == 1 and (found := _kth_in_bracket(score_RC[0].detach().numpy(), num)) is not None:
            return torch.from_numpy(found.reshape(1, 1))
        partitioned_RC = np.partition(score_RC.detach().numpy(), num - 1, axis=1)
        return torch.from_numpy(partitioned_RC[:, num - 1 : num])
    return score_RC.kthvalue(num, dim=1, keepdim=True).values


SAMPLE_SIZE = 2**14
"""Scores that tell about where the `num`-th of many lies; changes speed only."""


def _kth_in_bracket(score_C: NDArray[Any], num: int) -> NDArray[Any] | None:
    """The `num`-th lowest of many scores, from those alone that lie between two of a sample; None where it is not there.

    For 110,592 to 884,736 float32 scores, 2 to 4 times as fast as a partition of all (one thread).
    """
    size = len(score_C)
    if size < 4 * SAMPLE_SIZE:
        return None
    sample = np.sort(score_C[:: (size // SAMPLE_SIZE) | 1])  # an odd step meets every column
    middle, margin = num / size * len(sample), 4 * (len(sample) * num / size * (1 - num / size)) ** 0.5 + 2
    low = sample[int(middle - margin)] if middle > margin else -np.inf
    high = sample[int(middle + margin)] if middle + margin < len(sample) else np.inf
    is_above = score_C >= low
    inside = score_C[is_above & (score_C <= high)]
    rank = num - (size - int(np.count_nonzero(is_above)))
    return np.partition(inside, rank - 1)[rank - 1 : rank] if 1 <= rank <= len(inside) else None
