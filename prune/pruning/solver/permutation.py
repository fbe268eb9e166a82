"""Channel permutation: which inputs share a group of N:M, so that larger scores are kept.

Groups of consecutive inputs may hold several large scores, or none. So inputs are dealt to new groups, for each linear on
its own.

Source: RIA (Zhang et al. 2024, arXiv 2402.09997), section on channel permutation. The authors' code
(biomedical-cybernetics/Relative-importance-and-activation-pruning) gives the same orders, and also takes one that is worse
than the model's; here the model's stays then.

Shapes: O out, I in, G groups, M inputs in a group.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from prune.lazy import torch
from prune.pruning.sparsity import NM, lowest_in_groups

if TYPE_CHECKING:
    from torch import Tensor


class Permutation(str, Enum):
    """Which inputs share a group."""

    none = "none"
    """Consecutive ones."""
    heuristic = "heuristic"
    """Inputs of a like rank: sorted by their sum of scores, they are dealt out back and forth."""
    lsa = "lsa"
    """As heuristic; then the inputs at each place of the groups in turn are assigned anew, optimally over all groups."""


def best_order(score_OI: Tensor, pattern: NM, permutation: Permutation) -> Tensor:
    """The inputs in an order in which every M consecutive ones share a group, I; it never keeps less score than the model's
    order.

    Raises:
        UserError: M does not divide I.
    """
    num_inputs = score_OI.shape[1]
    pattern.check(num_inputs, "the linear")
    as_is_I = torch.arange(num_inputs, device=score_OI.device)
    order_I = dealt_order(score_OI, pattern.m)
    if permutation is Permutation.lsa:
        order_I = assigned_order(score_OI, order_I, pattern)
    return order_I if kept_score(score_OI, order_I, pattern) > kept_score(score_OI, as_is_I, pattern) else as_is_I


def kept_score(score_OI: Tensor, order_I: Tensor, pattern: NM) -> float:
    """The sum of the scores that stay when groups are formed in this order."""
    ordered_OI = score_OI[:, order_I]
    return float((ordered_OI * ~lowest_in_groups(ordered_OI, pattern)).sum(dtype=torch.float64))


def dealt_order(score_OI: Tensor, group_size: int) -> Tensor:
    """The inputs from the lowest sum of scores to the highest, cut into M parts; a group has one of each part.

    Every second part is dealt out backwards, so that what a group gets less of in one it gets more of in the next.
    """
    parts_MG = score_OI.sum(dim=0).sort().indices.view(group_size, -1).clone()
    parts_MG[1::2] = parts_MG[1::2].flip(1)
    return parts_MG.T.flatten()


def assigned_order(score_OI: Tensor, order_I: Tensor, pattern: NM) -> Tensor:
    """The order after one round: the inputs at each place of the groups are assigned anew, optimally over all groups.

    Beside its M - 1 others of a group, of which the M - N - 1 largest stay in any case, input x adds max(x, t) in each row,
    t the next largest: the sum over rows is half of sum x + sum t + sum |x - t|.
    """
    from scipy.optimize import linear_sum_assignment

    order_GM = order_I.view(-1, pattern.m).clone()
    for place in range(pattern.m):
        grouped_OGM = score_OI.double()[:, order_GM]
        x_GO = grouped_OGM[:, :, place].T.contiguous()
        others_OGM = torch.cat([grouped_OGM[:, :, :place], grouped_OGM[:, :, place + 1 :]], dim=2)
        t_GO = others_OGM.sort(dim=2, descending=True).values[:, :, pattern.m - pattern.n - 1].T.contiguous()
        gain_GG = torch.cdist(t_GO, x_GO, p=1) + x_GO.sum(dim=1) + t_GO.sum(dim=1, keepdim=True)
        _, given_G = linear_sum_assignment(gain_GG.cpu().numpy(), maximize=True)
        order_GM[:, place] = order_GM[torch.from_numpy(given_G).to(order_GM.device), place]
    return order_GM.flatten()
