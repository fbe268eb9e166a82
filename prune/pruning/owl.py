"""OWL (Yin et al. 2023, arXiv 2310.05175): blocks with more outliers among their scores lose fewer weights.

Shapes: N samples, L tokens, O out, I in.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from prune.errors import UserError
from prune.models.blocks import find_blocks, find_linears, read_weight
from prune.models.offload import on_device
from prune.pruning.expert_inputs import ExpertRule
from prune.pruning.hidden_states import Walk
from prune.pruning.methods.wanda import Wanda, scores
from prune.pruning.propagation import DenseInputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet


def owl_ratios(
    model: "PreTrainedModel",
    calibration: "CalibrationSet",
    targets: Mapping[int, Collection[str]],
    ratio: float,
    *,
    multiple: float,
    spread: float,
    batch_size: int,
    experts: ExpertRule = ExpertRule(),  # noqa: B008 - frozen
    on_block: Callable[[int, int], None] = lambda num_done, num_blocks: None,
) -> dict[int, float]:
    """Return block -> the ratio of its linears, with the mean `ratio` over the blocks; the model stays dense.

    Args:
        model: in evaluation mode.
        calibration: goes through the dense blocks once.
        targets: block -> the linears in it that will be pruned; only their scores count, and only these blocks get a ratio.
        ratio: what all blocks would lose alike.
        multiple: M; scores above M times the mean of their block are outliers.
        spread: lambda; ratios span 2 lambda.
        batch_size: sequences in one forward pass.
        experts: which tokens the scores of experts look at.
        on_block: called after each block with the number of blocks done, and of all that are looked at.

    Raises:
        UserError: the set does not fit the model, a score is unusable, or a ratio would not lie between 0 and 1.
    """
    blocks = find_blocks(model)
    linears = [find_linears(block) for block in blocks]
    shares: dict[int, float] = {}
    last = max(targets)
    with torch.no_grad():
        inputs = DenseInputs(Walk(model, calibration, batch_size=batch_size, experts=experts), Wanda())
        for index in range(last + 1):
            with on_device(blocks[index]):
                norms = inputs.enter(index, targets.get(index, ()))
                if index in targets:
                    found = [scores(read_weight(linears[index][name]), norms[name]) for name in targets[index]]
                    shares[index] = outlier_share(found, multiple)
            on_block(index + 1, last + 1)
    return dict(zip(shares, spread_ratios(list(shares.values()), ratio, spread), strict=True))


def outlier_share(of_linears: Sequence[Tensor], multiple: float) -> float:
    """The share of all scores of a block that lie above `multiple` times their mean."""
    num_scores = sum(score_OI.numel() for score_OI in of_linears)
    mean = sum(float(score_OI.sum(dtype=torch.float64)) for score_OI in of_linears) / num_scores
    return sum(int((score_OI > multiple * mean).sum()) for score_OI in of_linears) / num_scores


def spread_ratios(shares: Sequence[float], ratio: float, spread: float) -> list[float]:
    """A ratio for each block, lower where its share is higher: a line through the shares, over 2 `spread`, of mean `ratio`.

    density_b = 2 lambda (share_b - min) / (max - min), ratio_b = ratio + mean(density) - density_b. Where all shares are
    equal so are the ratios (the authors' code divides 0 by 0 there).

    Raises:
        UserError: a ratio would not lie between 0 and 1.
    """
    low, high = min(shares), max(shares)
    densities = [2 * spread * (share - low) / (high - low) if high > low else 0.0 for share in shares]
    mean = sum(densities) / len(densities)
    ratios = [ratio + mean - density for density in densities]
    if not 0 < min(ratios) <= max(ratios) < 1:
        raise UserError(
            f"sparsity.allocation=owl would give blocks ratios from {min(ratios):.3g} to {max(ratios):.3g} around "
            f"sparsity.ratio={ratio:g}; they must lie between 0 and 1. Choose a smaller sparsity.owl_lambda than {spread:g}."
        )
    return ratios
