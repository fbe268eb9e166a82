"""Swaps that improve a mask: one kept weight of a row goes, one removed weight comes back, the best pair first.

Of a row w with inputs of Gram matrix G, the removed part v costs v G v^T, its share of the squared output error. With
c = v G, removing p and restoring u changes that by

    2 w_p c_p + w_p^2 G_pp  -  2 w_u c_u + w_u^2 G_uu  -  2 w_p w_u G_pu,

and then c by w_p G_p - w_u G_u. Rows do not depend on each other.

Source: SparseSwaps (Zimmer et al. 2025, arXiv 2512.10922), which has no public code: on small rows the tests try all pairs.

Shapes: O out, I in, R rows at once, K gathered inputs of a row, M inputs in a group. In every mask True = removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prune.lazy import torch
from prune.pruning.sparsity import NM, Pattern

if TYPE_CHECKING:
    from torch import Tensor

ROOM = 2**17
"""Pairs that are looked at together on the CPU, few enough for its cache, but at least a row's; changes speed only."""
ROOM_ON_DEVICE = 2**26
"""The same on a GPU."""
ROWS_OF_GROUPS = 256
"""Rows whose pairs within groups are looked at together; changes speed only."""
MIN_GAIN = 64
"""Steps of the floating-point type, relative to the row's error, that a swap must gain: less is rounding."""


@dataclass(frozen=True)
class Pairs:
    """The best pair of each row."""

    change_R: Tensor
    """What the swap would change of the row's error; infinite where there is no pair."""
    out_R: Tensor
    """The input that would be removed."""
    back_R: Tensor
    """The input that would come back."""


@dataclass(frozen=True)
class Costs:
    """What each input of some rows would change of the row's error on its own."""

    weight_RI: Tensor
    out_RI: Tensor
    """Of removing it; infinite where it is removed already."""
    back_RI: Tensor
    """Of taking it back; infinite where it is kept."""


def swap(weight_OI: Tensor, mask_OI: Tensor, gram_II: Tensor, pattern: Pattern, max_sweeps: int) -> tuple[Tensor, Tensor]:
    """(a mask with the counts of `mask_OI` in each row, or in each group of N:M; how many swaps each row made, O).

    A sweep makes the best swap of each row, if it lowers the row's error; a row without one is done. `gram_II` is the Gram
    matrix of the inputs or any multiple above 0, symmetric, in the type of the weights, which are finite.
    """
    mask_OI = mask_OI.clone()
    removed_OI = weight_OI * mask_OI
    product_OI = removed_OI @ gram_II
    error_O = (removed_OI * product_OI).sum(dim=1)
    num_swaps_O = torch.zeros(len(weight_OI), dtype=torch.long, device=weight_OI.device)
    search = InGroups(gram_II, pattern.m) if isinstance(pattern, NM) else InRows(gram_II, mask_OI)
    tolerance = MIN_GAIN * torch.finfo(weight_OI.dtype).eps
    rows_R = torch.arange(len(weight_OI), device=weight_OI.device)
    for _ in range(max_sweeps):
        costs = _costs(weight_OI[rows_R], mask_OI[rows_R], product_OI[rows_R], gram_II.diagonal())
        pairs = search.best(rows_R, costs)
        gains_R = pairs.change_R < -tolerance * error_O[rows_R]
        rows_R, out_R, back_R = rows_R[gains_R], pairs.out_R[gains_R], pairs.back_R[gains_R]
        if not len(rows_R):
            break
        mask_OI[rows_R, out_R], mask_OI[rows_R, back_R] = True, False
        product_OI[rows_R] += weight_OI[rows_R, out_R, None] * gram_II[out_R]
        product_OI[rows_R] -= weight_OI[rows_R, back_R, None] * gram_II[back_R]
        error_O[rows_R] += pairs.change_R[gains_R]
        num_swaps_O[rows_R] += 1
        search.swapped(rows_R, out_R, back_R)
    return mask_OI, num_swaps_O


def _costs(weight_RI: Tensor, mask_RI: Tensor, product_RI: Tensor, diagonal_I: Tensor) -> Costs:
    own_RI, cross_RI = weight_RI.square() * diagonal_I, 2 * weight_RI * product_RI
    out_RI = (own_RI + cross_RI).masked_fill_(mask_RI, torch.inf)
    return Costs(weight_RI, out_RI, (own_RI - cross_RI).masked_fill_(~mask_RI, torch.inf))


class InRows:
    """The best pairs of whole rows, by looking at all: K x I of each row, K what is kept of it or what is removed if less.

    `gathered_OK` holds those inputs; where a row has fewer than another, some of the other kind besides, of infinite cost.
    """

    def __init__(self, gram_II: Tensor, mask_OI: Tensor) -> None:
        self._gram_II = gram_II
        num_removed_O = mask_OI.sum(dim=1)
        most_removed, most_kept = int(num_removed_O.max()), mask_OI.shape[1] - int(num_removed_O.min())
        self._gathers_kept = most_kept <= most_removed
        first_OI = mask_OI if self._gathers_kept else ~mask_OI
        order_OI = first_OI.to(torch.uint8).argsort(dim=1, stable=True)
        self._gathered_OK = order_OI[:, : min(most_kept, most_removed)].clone()
        pairs = self._gathered_OK.shape[1] * mask_OI.shape[1]
        room = ROOM if mask_OI.device.type == "cpu" else ROOM_ON_DEVICE
        self._rows_at_once = max(1, room // max(pairs, 1))
        rows = min(self._rows_at_once, len(mask_OI))
        self._room_RKI = gram_II.new_empty(rows, self._gathered_OK.shape[1], mask_OI.shape[1])

    def best(self, rows_R: Tensor, costs: Costs) -> Pairs:
        """The best pair of each of these rows."""
        if self._gathered_OK.shape[1] == 0:
            return Pairs(costs.out_RI.new_full((len(rows_R),), torch.inf), rows_R * 0, rows_R * 0)
        parts = [
            self._best(self._gathered_OK[rows_R[chunk]], costs, chunk)
            for start in range(0, len(rows_R), self._rows_at_once)
            for chunk in [slice(start, start + self._rows_at_once)]
        ]
        change_R, gathered_R, other_R = (torch.cat(part) for part in zip(*parts, strict=True))
        return Pairs(change_R, *((gathered_R, other_R) if self._gathers_kept else (other_R, gathered_R)))

    def _best(self, gathered_RK: Tensor, costs: Costs, chunk: slice) -> tuple[Tensor, Tensor, Tensor]:
        """(change, gathered input, other input) of each row of a chunk."""
        out_RI, back_RI, weight_RI = costs.out_RI[chunk], costs.back_RI[chunk], costs.weight_RI[chunk]
        mine_RI, other_RI = (out_RI, back_RI) if self._gathers_kept else (back_RI, out_RI)
        pair_RKI = self._room_RKI[: len(gathered_RK)]
        torch.index_select(self._gram_II, 0, gathered_RK.flatten(), out=pair_RKI.view(-1, pair_RKI.shape[-1]))
        pair_RKI.mul_(weight_RI[:, None])
        scale_RK1 = weight_RI.gather(1, gathered_RK)[:, :, None]
        torch.addcmul(other_RI[:, None], pair_RKI, scale_RK1, value=-2, out=pair_RKI)
        lowest_RK = pair_RKI.amin(dim=2).add_(mine_RI.gather(1, gathered_RK))
        change_R, slot_R = lowest_RK.min(dim=1)
        rows_R = torch.arange(len(gathered_RK), device=slot_R.device)
        return change_R, gathered_RK[rows_R, slot_R], pair_RKI[rows_R, slot_R].argmin(dim=1)

    def swapped(self, rows_R: Tensor, out_R: Tensor, back_R: Tensor) -> None:
        """Put what came to be gathered in the place of what no longer is."""
        old_R, new_R = (out_R, back_R) if self._gathers_kept else (back_R, out_R)
        gathered_RK = self._gathered_OK[rows_R]
        self._gathered_OK[rows_R] = torch.where(gathered_RK == old_R[:, None], new_R[:, None], gathered_RK)


class InGroups:
    """The best pairs of rows whose groups of M consecutive inputs each keep their count: M x M pairs in each group."""

    def __init__(self, gram_II: Tensor, group_size: int) -> None:
        first = torch.arange(0, len(gram_II), group_size, device=gram_II.device)
        inputs_GM = first[:, None] + torch.arange(group_size, device=gram_II.device)
        self._size = group_size
        self._blocks_GMM = gram_II[inputs_GM[:, :, None], inputs_GM[:, None, :]]

    def best(self, rows_R: Tensor, costs: Costs) -> Pairs:
        """The best pair of each of these rows; the first dimension of a group's pairs is what goes."""
        parts = [
            self._best(*(part[start : start + ROWS_OF_GROUPS] for part in (costs.weight_RI, costs.out_RI, costs.back_RI)))
            for start in range(0, len(rows_R), ROWS_OF_GROUPS)
        ]
        return Pairs(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _best(self, weight_RI: Tensor, out_RI: Tensor, back_RI: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight_RGM, out_RGM, back_RGM = (part.view(len(part), -1, self._size) for part in (weight_RI, out_RI, back_RI))
        pair_RGMM = self._blocks_GMM * weight_RGM[..., None, :] * weight_RGM[..., None] * -2
        pair_RGMM += out_RGM[..., None]
        pair_RGMM += back_RGM[..., None, :]
        change_R, place_R = pair_RGMM.flatten(1).min(dim=1)
        group_R, pair_R = place_R // self._size**2 * self._size, place_R % self._size**2
        return change_R, group_R + pair_R // self._size, group_R + pair_R % self._size

    def swapped(self, rows_R: Tensor, out_R: Tensor, back_R: Tensor) -> None:
        """Nothing is kept of the masks."""
